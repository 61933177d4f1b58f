/* SPDX-License-Identifier: ISC */
/*
 * Host tool: one role's seccomp filter from the "#syscalls" notes in its sources.
 *
 *	policy_gen ROLE OUT.h FILES... [--child ROLE FILES...]...
 *						writes policy_<role>[] and POLICY_<ROLE>_LEN
 *	policy_gen --list ROLE FILES...		prints the rules, one a line: call, conditions, file:line
 *
 * A note is a comment line; it goes on over line ends while a bracket is open, and ends at " -- reason":
 *
 *	#syscalls NAME...			any role that has the file
 *	#syscalls ROLE...: NAME...		these roles only
 *	#syscalls ioctl(FD_NAME: CMD, CMD...)	pinned to a descriptor and these commands; also fcntl
 *	#syscalls NAME(fd=FD_NAME|FD_NAME)	pinned to descriptors; ANY pins nothing
 *	#syscalls NAME(fd>=FD_NAME)		pinned to this number and what is above it; the same before the colon of an
 *						ioctl. -1 and the like pass too: not for calls that know AT_FDCWD
 *	#syscalls NAME(VALUE, VALUE...)		the argument that chooses: madvise advice, prctl option, fcntl command, ...
 *	#syscalls NAME(argN=VALUE, errno=E)	any argument; answer with an error instead of allowing
 *
 * What is true without a note, whatever the note says: mmap and mprotect never with PROT_EXEC, clone only for threads,
 * clone3 answers ENOSYS (glibc then falls back to clone, whose flags a filter can read), everything else kills the
 * process, and so does another architecture's entry (int 0x80, x32).
 *
 * The monitor is different: filters are inherited, so its own holds what its children do until they have theirs (exec and
 * a loader's executable mappings among it; in their sources that is said for role monitor) and what theirs will allow.
 * Their files follow --child. Descriptor numbers of a child mean nothing in its parent.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <linux/close_range.h>

#include "jail/policy/policy_bpf.h"

#define nitems(a) (sizeof(a) / sizeof((a)[0]))
#define MASK32 UINT64_C(0xffffffff)

enum { RULES_MAX = 1024, CONDS_MAX = 4, ALTS_MAX = 96, NOTE_MAX = 8192, NAME_MAX_ = 64 };

/* A named number. */
struct named {
	const char *name;
	uint64_t value;
};

static const struct named consts[] = {
#define C(x) { #x, (uint64_t)(x) },
#define A(x, y) { #x, (uint64_t)(y) },
#include "jail/policy/consts.def"
};

struct role_fd {
	const char *role, *name;
	uint64_t number;
};

#define ROLE(role, recipe, uid_slot, nofile, nproc, fsize, as_mib) #role,
static const char *const roles[] = {
#include "jail/policy/roles.def"
};

#define ROLE_FD(role, number, name, type) { #role, #name, number },
static const struct role_fd role_fds[] = {
#include "jail/policy/roles.def"
};

/* In every filter; without them a process could not even end. */
static const char always[] =
	"clock_gettime futex restart_syscall rt_sigreturn exit exit_group munmap madvise(DONTNEED, FREE)";

/* Calls whose arguments choose what they do: a bare list of values means this argument. */
static const struct {
	const char *name;
	unsigned arg;
} chooser[] = {
	{ "ioctl", 1 },	     { "fcntl", 1 },  { "madvise", 2 },	   { "prctl", 0 }, { "seccomp", 0 },
	{ "socketpair", 0 }, { "socket", 0 }, { "close_range", 2 }, { "waitid", 0 }, { "prlimit64", 1 },
	{ "rt_sigprocmask", 0 },
};

/* Old calls that newer architectures never had. */
static const struct {
	const char *name, *instead;
} renamed[] = { { "poll", "ppoll" }, { "epoll_wait", "epoll_pwait" }, { "dup2", "dup3" }, { "unlink", "unlinkat" } };

struct cond {
	unsigned arg;
	uint64_t mask, value;
};

struct rule {
	int nr;
	const char *name; /* owned, never freed: the tool lives for a moment */
	unsigned n;
	struct cond c[CONDS_MAX];
	uint32_t error; /* answer with this errno; 0: allow */
	const char *file;
	unsigned line;
	char *text;
};

static struct rule rules[RULES_MAX];
static size_t n_rules;
static const char *role;     /* whose notes are read */
static const char *for_role; /* whose filter is made */
static bool of_child; /* what is read now is a child's */
static const char *cur_file = "policy_gen.c";
static unsigned cur_line;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%u: ", cur_file, cur_line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static char *dup_range(const char *p, size_t n)
{
	char *s = strndup(p, n);

	if (s == NULL)
		die("out of memory");
	return s;
}

/* Copy of [p, end) without the blanks around it. */
static char *trimmed(const char *p, const char *end)
{
	while (p < end && isspace((unsigned char)*p))
		p++;
	while (end > p && isspace((unsigned char)end[-1]))
		end--;
	return dup_range(p, (size_t)(end - p));
}

static bool is_role(const char *name)
{
	for (size_t i = 0; i < nitems(roles); i++)
		if (strcmp(roles[i], name) == 0)
			return true;
	return false;
}

static uint64_t const_value(const char *name)
{
	char *end = NULL;

	for (size_t i = 0; i < nitems(consts); i++)
		if (strcmp(consts[i].name, name) == 0)
			return consts[i].value;
	errno = 0;
	uint64_t v = strtoull(name, &end, 0);
	if (isdigit((unsigned char)name[0]) && errno == 0 && *end == '\0')
		return v;
	die("unknown constant \"%s\" (add it to consts.def)", name);
}

static const struct role_fd *fd_by_name(const char *name)
{
	for (size_t i = 0; i < nitems(role_fds); i++)
		if (strcmp(role_fds[i].role, role) == 0 && strcmp(role_fds[i].name, name) == 0)
			return &role_fds[i];
	return NULL;
}

static int syscall_nr(const char *name)
{
	int nr = seccomp_syscall_resolve_name(name);

	if (nr >= 0)
		return nr;
	for (size_t i = 0; i < nitems(renamed); i++)
		if (strcmp(renamed[i].name, name) == 0)
			return seccomp_syscall_resolve_name(renamed[i].instead);
	die("unknown system call \"%s\"", name);
}

static int chooser_arg(const char *name)
{
	for (size_t i = 0; i < nitems(chooser); i++)
		if (strcmp(chooser[i].name, name) == 0)
			return (int)chooser[i].arg;
	return -1;
}

static unsigned fd_arg(const char *name)
{
	return strcmp(name, "mmap") == 0 ? 4 : 0;
}

/* One argument's alternatives: allowed is any of them. */
struct alts {
	unsigned arg;
	size_t n;
	uint64_t v[ALTS_MAX];
};

struct item {
	char *name;
	uint32_t error;
	size_t n;
	struct alts a[CONDS_MAX];
};

static struct alts *item_alts(struct item *it, unsigned arg)
{
	if (it->n >= CONDS_MAX - 1)
		die("%s: too many conditions", it->name);
	struct alts *a = &it->a[it->n++];
	*a = (struct alts){ .arg = arg };
	return a;
}

static void alts_add(struct alts *a, uint64_t v)
{
	if (a->n == ALTS_MAX)
		die("too many values in one note");
	a->v[a->n++] = v;
}

static void alts_add_value(struct alts *a, const char *name)
{
	uint64_t v = const_value(name);

	if (policy_bpf_is_range(v & MASK32))
		die("\"%s\" looks like the mark of a range", name);
	alts_add(a, v);
}

static uint64_t fd_number(const char *name)
{
	const struct role_fd *fd = fd_by_name(name);

	if (fd == NULL)
		die("role %s has no descriptor \"%s\" in roles.def", role, name);
	return fd->number;
}

/* From this descriptor of the role's on. */
static void parse_fd_range(struct item *it, const char *name)
{
	if (!of_child)
		alts_add(item_alts(it, fd_arg(it->name)), policy_bpf_range(fd_number(name)));
}

/* "A|B": descriptor names of this role; "fd>=A"; "ANY" pins nothing. */
static void parse_fds(struct item *it, const char *list)
{
	if (strncmp(list, "fd>=", 4) == 0) {
		parse_fd_range(it, list + 4);
		return;
	}
	if (of_child || strcmp(list, "ANY") == 0)
		return;
	struct alts *a = item_alts(it, fd_arg(it->name));
	const char *p = list;

	for (;;) {
		const char *end = strchrnul(p, '|');
		char *name = trimmed(p, end);

		alts_add(a, fd_number(name));
		if (*end == '\0')
			return;
		p = end + 1;
	}
}

/* "fd=X", "fd>=X", "argN=VALUE" or "errno=E". */
static void parse_assignment(struct item *it, const char *key, const char *value)
{
	if (strcmp(key, "fd") == 0) {
		parse_fds(it, value);
	} else if (strcmp(key, "fd>") == 0) {
		parse_fd_range(it, value);
	} else if (strcmp(key, "errno") == 0) {
		it->error = (uint32_t)const_value(value);
	} else if (strncmp(key, "arg", 3) == 0 && key[3] >= '0' && key[3] <= '5' && key[4] == '\0') {
		alts_add_value(item_alts(it, (unsigned)(key[3] - '0')), value);
	} else {
		die("%s: unknown condition \"%s\"", it->name, key);
	}
}

/* What stands between the brackets. */
static void parse_args(struct item *it, char *args)
{
	struct alts *values = NULL;
	char *colon = strchr(args, ':');

	if (colon != NULL) {
		parse_fds(it, trimmed(args, colon));
		args = colon + 1;
	}
	for (const char *p = args;;) {
		const char *end = strchrnul(p, ',');
		char *word = trimmed(p, end);
		char *eq = strchr(word, '=');

		if (*word == '\0')
			die("%s: empty value", it->name);
		if (eq != NULL) {
			*eq = '\0';
			parse_assignment(it, word, eq + 1);
		} else {
			int arg = chooser_arg(it->name);

			if (arg < 0)
				die("%s: which argument is \"%s\"? say argN=", it->name, word);
			if (values == NULL)
				values = item_alts(it, (unsigned)arg);
			alts_add_value(values, word);
		}
		if (*end == '\0')
			return;
		p = end + 1;
	}
}

static void rule_cond(struct rule *r, unsigned arg, uint64_t mask, uint64_t value)
{
	if (r->n == CONDS_MAX)
		die("%s: too many conditions", r->name);
	r->c[r->n++] = (struct cond){ arg, mask, value };
}

/* What holds whatever the note says. */
static void rule_invariants(struct rule *r)
{
	if (strcmp(for_role, "monitor") == 0)
		return;
	if (strcmp(r->name, "mmap") == 0 || strcmp(r->name, "mprotect") == 0)
		rule_cond(r, 2, PROT_EXEC, 0);
	if (strcmp(r->name, "clone") == 0)
		rule_cond(r, 0, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD);
	if (strcmp(r->name, "clone3") == 0)
		r->error = ENOSYS;
}

static void rule_add(const struct item *it, const size_t pick[CONDS_MAX], const char *text)
{
	if (n_rules == RULES_MAX)
		die("too many rules");
	if (of_child && it->error != 0)
		return; /* its own filter gives that answer */
	struct rule *r = &rules[n_rules++];
	*r = (struct rule){ .nr = syscall_nr(it->name), .name = it->name, .error = it->error, .file = cur_file,
			    .line = cur_line, .text = strdup(text) };
	/* The kernel looks at 32 bits of a descriptor, command or option; so does the filter. */
	for (size_t i = 0; i < it->n; i++)
		rule_cond(r, it->a[i].arg, MASK32, it->a[i].v[pick[i]]);
	rule_invariants(r);
}

/* Every combination of the alternatives is one rule. */
static void item_expand(const struct item *it, const char *text)
{
	size_t pick[CONDS_MAX] = { 0 };

	for (;;) {
		size_t i = 0;

		rule_add(it, pick, text);
		while (i < it->n && ++pick[i] == it->a[i].n)
			pick[i++] = 0;
		if (i == it->n)
			return;
	}
}

/* "NAME" or "NAME(...)", [p, end). */
static void parse_item(const char *p, const char *end)
{
	char *text = trimmed(p, end);
	char *open = strchr(text, '(');
	struct item it = { 0 };

	it.name = open == NULL ? text : trimmed(text, open);
	for (const char *c = it.name; *c != '\0'; c++)
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_')
			die("\"%s\" is no system call's name", it.name);
	if (open != NULL) {
		char *close = strrchr(open, ')');

		if (close == NULL || close[1] != '\0')
			die("unbalanced brackets in \"%s\"", text);
		parse_args(&it, dup_range(open + 1, (size_t)(close - open - 1)));
	} else if (strcmp(it.name, "ioctl") == 0 || strcmp(it.name, "prctl") == 0) {
		die("%s needs its commands", it.name);
	}
	item_expand(&it, text);
}

static void parse_items(const char *p)
{
	while (*p != '\0') {
		const char *start;
		int depth = 0;

		while (isspace((unsigned char)*p) || *p == ',')
			p++;
		for (start = p; *p != '\0' && (depth > 0 || (!isspace((unsigned char)*p) && *p != ',')); p++)
			depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
		if (p > start)
			parse_item(start, p);
	}
}

/* A prefix "ROLE ROLE:" before the first bracket. Returns the rest, or NULL when the note is for others. */
static const char *parse_prefix(const char *note)
{
	const char *colon = note + strcspn(note, ":(");
	bool mine = false;

	if (*colon != ':')
		return note;
	for (const char *p = note; p < colon;) {
		size_t n = strcspn(p, " \t:");

		if (n > 0) {
			char *name = dup_range(p, n);

			if (!is_role(name))
				die("unknown role \"%s\"", name);
			mine = mine || strcmp(name, role) == 0 || strcmp(name, for_role) == 0;
		}
		p += n > 0 ? n : 1;
	}
	return mine ? colon + 1 : NULL;
}

static void parse_note(char *note)
{
	char *reason = strstr(note, " -- ");
	char *comment_end = strstr(note, "*/");

	if (reason != NULL)
		*reason = '\0';
	if (comment_end != NULL)
		*comment_end = '\0';
	const char *items = parse_prefix(note);
	if (items == NULL)
		return;
	if (items[strspn(items, " \t")] == '\0')
		die("empty note");
	parse_items(items);
}

static int bracket_depth(const char *s)
{
	int depth = 0;

	for (; *s != '\0'; s++)
		depth += *s == '(' ? 1 : *s == ')' ? -1 : 0;
	return depth;
}

/* Where the note's text starts in @line, if it is one: only blanks and comment signs may stand before. */
static const char *note_start(const char *line)
{
	static const char mark[] = "#syscalls";
	const char *p = line + strspn(line, " \t/*");

	if (strncmp(p, mark, strlen(mark)) != 0 || !isspace((unsigned char)p[strlen(mark)]))
		return NULL;
	return p + strlen(mark) + 1;
}

static void note_append(char *note, const char *more)
{
	size_t used = strlen(note), n = strcspn(more, "\n");

	if (used + n + 2 > NOTE_MAX)
		die("note too long");
	memcpy(note + used, more, n);
	memcpy(note + used + n, " ", 2);
}

static void parse_file(const char *path)
{
	char line[4096], note[NOTE_MAX];
	unsigned number = 0;

	cur_file = path;
	cur_line = 0;
	FILE *f = fopen(path, "re");
	if (f == NULL)
		die("%s", strerror(errno));
	while (fgets(line, sizeof(line), f) != NULL) {
		const char *text = note_start(line);

		number++;
		if (text == NULL)
			continue;
		cur_line = number;
		note[0] = '\0';
		note_append(note, text);
		while (bracket_depth(note) > 0 && fgets(line, sizeof(line), f) != NULL) {
			number++;
			note_append(note, line + strspn(line, " \t*"));
		}
		if (bracket_depth(note) != 0)
			die("unbalanced brackets");
		parse_note(note);
	}
	fclose(f);
}

/* --- output ---------------------------------------------------------------------------------------------------- */

static void list_rules(void)
{
	for (size_t i = 0; i < n_rules; i++) {
		const struct rule *r = &rules[i];

		if (i > 0 && r->text != NULL && rules[i - 1].line == r->line && rules[i - 1].file == r->file &&
		    strcmp(rules[i - 1].text, r->text) == 0)
			continue; /* an alternative of the same item */
		printf("%s\t%s\t%s:%u\n", r->name, r->text, r->file, r->line);
	}
}

/* A rule without conditions makes those with conditions pointless. */
static bool has_plain(int nr)
{
	for (size_t i = 0; i < n_rules; i++)
		if (rules[i].nr == nr && rules[i].n == 0 && rules[i].error == 0)
			return true;
	return false;
}

static unsigned count_calls(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < n_rules; i++) {
		bool seen = false;

		for (size_t j = 0; j < i && !seen; j++)
			seen = rules[j].nr == rules[i].nr;
		count += seen ? 0 : 1;
	}
	return count;
}

static void check(int r, const struct rule *rule)
{
	if (r == 0 || r == -EEXIST)
		return;
	cur_file = rule->file;
	cur_line = rule->line;
	die("libseccomp refuses \"%s\": %s", rule->text, strerror(-r));
}

static void compile_rules(scmp_filter_ctx ctx)
{
	for (size_t i = 0; i < n_rules; i++) {
		const struct rule *r = &rules[i];
		struct scmp_arg_cmp cmp[CONDS_MAX];

		if (r->n > 0 && has_plain(r->nr))
			continue;
		for (unsigned k = 0; k < r->n; k++)
			cmp[k] = (struct scmp_arg_cmp){ r->c[k].arg, SCMP_CMP_MASKED_EQ, r->c[k].mask, r->c[k].value };
		check(seccomp_rule_add_array(ctx, r->error != 0 ? SCMP_ACT_ERRNO(r->error) : SCMP_ACT_ALLOW, r->nr, r->n,
					     cmp),
		      r);
		/* Calls without conditions are answered from the kernel's bitmap; the others run the program. */
		(void)seccomp_syscall_priority(ctx, r->nr, r->n > 0 ? 200 : 100);
	}
}

/* Short programs stay linear with the checked calls first; long ones become a tree. */
static scmp_filter_ctx make_filter(void)
{
	enum { LINEAR_MAX = 24 };
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (ctx == NULL || seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) != 0 ||
	    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, count_calls() <= LINEAR_MAX ? 1 : 2) != 0)
		die("libseccomp does not start");
	compile_rules(ctx);
	return ctx;
}

static size_t export_filter(struct sock_filter *prog, size_t max)
{
	int fd = memfd_create("bpf", MFD_CLOEXEC);
	scmp_filter_ctx ctx = make_filter();

	if (fd < 0 || seccomp_export_bpf(ctx, fd) != 0)
		die("cannot export the filter");
	ssize_t n = pread(fd, prog, max * sizeof(*prog), 0);
	if (n <= 0 || (size_t)n % sizeof(*prog) != 0 || (size_t)n == max * sizeof(*prog))
		die("odd filter of %zd bytes", n);
	seccomp_release(ctx);
	close(fd);
	n = (ssize_t)policy_bpf_drop_idle(prog, (size_t)n / sizeof(*prog));
	if (n == 0)
		die("a jump does not fit");
	policy_bpf_open_ranges(prog, (size_t)n);
	return (size_t)n;
}

static void write_header(const char *path)
{
	static struct sock_filter prog[BPF_MAXINSNS];
	size_t n = export_filter(prog, nitems(prog));
	char upper[NAME_MAX_];
	size_t k = 0;

	for (; role[k] != '\0' && k + 1 < sizeof(upper); k++)
		upper[k] = (char)toupper((unsigned char)role[k]);
	upper[k] = '\0';
	cur_file = path;
	FILE *f = fopen(path, "we");
	if (f == NULL)
		die("%s", strerror(errno));
	fprintf(f, "/* Made by policy_gen from the sources' notes: %u calls, %zu rules. */\n", count_calls(), n_rules);
	fprintf(f, "#ifndef GEN_POLICY_%s_H\n#define GEN_POLICY_%s_H\n\n#include <linux/filter.h>\n\n", upper, upper);
	fprintf(f, "enum { POLICY_%s_LEN = %zu };\n\nstatic const struct sock_filter policy_%s[POLICY_%s_LEN] = {\n",
		upper, n, role, upper);
	for (size_t i = 0; i < n; i++)
		fprintf(f, "\t{ 0x%02x, %u, %u, 0x%08x },\n", prog[i].code, prog[i].jt, prog[i].jf, prog[i].k);
	fprintf(f, "};\n\n#endif\n");
	if (ferror(f) || fclose(f) != 0)
		die("write failed");
}

static void set_role(const char *name)
{
	role = name;
	if (!is_role(role))
		die("unknown role \"%s\" (roles.def)", role);
}

int main(int argc, char **argv)
{
	bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
	int first = 3;

	if (argc < 3) {
		fprintf(stderr, "usage: policy_gen ROLE OUT.h FILES...\n       policy_gen --list ROLE FILES...\n");
		return 2;
	}
	for_role = list ? argv[2] : argv[1];
	set_role(for_role);
	parse_items(always);
	for (int i = first; i < argc; i++) {
		of_child = of_child || strcmp(argv[i], "--child") == 0;
		if (strcmp(argv[i], "--child") != 0)
			parse_file(argv[i]);
		else if (++i < argc)
			set_role(argv[i]);
	}
	role = for_role;
	if (list)
		list_rules();
	else
		write_header(argv[2]);
	return 0;
}
