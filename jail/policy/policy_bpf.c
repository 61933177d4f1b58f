/* SPDX-License-Identifier: ISC */
/*
 * libseccomp 2.5 tests the unused upper half of an argument too: load it, and 0, equals 0. That is always true, costs time
 * on every hot call, and is a third of a helper's program. Here such tests are left out and the jumps aimed anew.
 */
#include "jail/policy/policy_bpf.h"

static bool is_idle_test(const struct sock_filter *p, size_t i, size_t n)
{
	return i + 3 < n && p[i].code == (BPF_LD | BPF_W | BPF_ABS) && p[i + 1].code == (BPF_ALU | BPF_AND | BPF_K) &&
	       p[i + 1].k == 0 && p[i + 2].code == (BPF_JMP | BPF_JEQ | BPF_K) && p[i + 2].k == 0 && p[i + 2].jt == 0 &&
	       p[i + 3].code == (BPF_LD | BPF_W | BPF_ABS);
}

/* Where each instruction goes. A jump to the start of a test goes to what follows it; nothing jumps into the middle, as
 * no other instruction could have loaded what it looks at. Returns the new length. */
static size_t plan(const struct sock_filter *p, size_t n, size_t *to)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++) {
		to[i] = out;
		if (is_idle_test(p, i, n)) {
			to[i + 1] = to[i + 2] = out;
			i += 2;
			continue;
		}
		out++;
	}
	to[n] = out;
	return out;
}

static bool move_jump(const size_t *to, size_t from, uint8_t *offset)
{
	size_t d = to[from + 1 + *offset] - to[from] - 1;

	*offset = (uint8_t)d;
	return d <= UINT8_MAX;
}

size_t policy_bpf_drop_idle(struct sock_filter *p, size_t n)
{
	static size_t to[BPF_MAXINSNS + 1];
	size_t out = plan(p, n, to);
	bool fits = true;

	for (size_t i = 0; i < n; i++) {
		struct sock_filter in = p[i];

		if (is_idle_test(p, i, n)) {
			i += 2;
			continue;
		}
		if (BPF_CLASS(in.code) == BPF_JMP && BPF_OP(in.code) == BPF_JA)
			in.k = (uint32_t)(to[i + 1 + in.k] - to[i] - 1);
		else if (BPF_CLASS(in.code) == BPF_JMP)
			fits = move_jump(to, i, &in.jt) && move_jump(to, i, &in.jf) && fits;
		p[to[i]] = in; /* never ahead of what is still to be read */
	}
	return fits ? out : 0;
}

void policy_bpf_open_ranges(struct sock_filter *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i].code != (BPF_JMP | BPF_JEQ | BPF_K) || !policy_bpf_is_range(p[i].k))
			continue;
		p[i].code = BPF_JMP | BPF_JGE | BPF_K;
		p[i].k &= POLICY_BPF_RANGE_MASK;
	}
}
