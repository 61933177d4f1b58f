/* SPDX-License-Identifier: ISC */
/*
 * A virtio device under a driver that writes anything anywhere, and a back end that says anything at any time. Whatever came:
 * no queue is enabled with a size that cannot be, what was enabled stays what it was, read-only bytes stay, the back end is
 * started and stopped in turns, doorbells are where the BAR is, no eventfd raises an interrupt without a route, and after a
 * reset the device works.
 */
#include <setjmp.h>
#include <stdarg.h>

#include "tests/fuzz/ops.h"
#include "tests/unit/vmmd/virtio/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
	struct virtio_queue q[QUEUES];
	unsigned starts;
};

static void check_queues(struct machine_without_kvm *m, struct seen *s)
{
	for (unsigned i = 0; i < QUEUES; i++) {
		const struct virtio_queue *q = virtio_dev_queue(m->dev, i);
		const struct virtio_queue *was = &s->q[i];

		if (q->enabled)
			ops_promise(q->size > 0 && q->size <= QUEUE_SIZE && (q->size & (q->size - 1)) == 0);
		if (q->enabled && was->enabled && s->starts == m->starts)
			ops_promise((q->size == was->size && q->desc == was->desc && q->driver == was->driver &&
				     q->device == was->device) ||
				    !virtio_dev_is_running(m->dev));
		s->q[i] = *q;
	}
	s->starts = m->starts;
}

static void check(struct machine_without_kvm *m, struct seen *s)
{
	uint64_t base = bar_base(m);

	ops_promise(m->starts == m->stops || m->starts == m->stops + 1);
	ops_promise(!virtio_dev_is_running(m->dev) || (m->acked & ~FEATURES) == 0);
	ops_promise(base >= LOW_BASE && base + 0x80000 <= LOW_BASE + LOW_SIZE && base % 0x80000 == 0);
	ops_promise(fake.n_bells == QUEUES);
	for (unsigned q = 0; q < QUEUES; q++)
		ops_promise(fake_bell(base + 0x6000 + 4 * q) == m->kick[q]);
	ops_promise(fake.n_irqfds <= QUEUES && fake.wrong_order == 0);
	ops_promise(cfg_in(m, 0, 4) == 0x10421AF4 && cfg_in(m, 0x34, 4) == 0x40 && cfg_in(m, 0xA4, 4) == 0);
	ops_promise(in(m, VIRTIO_PCI_COMMON_NUMQ, 2) == QUEUES);
	check_queues(m, s);
}

/* Offsets where something is, more often than others. */
static uint64_t place(struct ops *o)
{
	uint8_t where = (uint8_t)ops_take(o, 1), low = (uint8_t)ops_take(o, 1);

	switch (where & 7) {
	case 0:
	case 1:
	case 2:
		return low % 60;
	case 3:
		return 0x4000 + low % 72;
	case 4:
		return 0x6000 + low % 20;
	case 5:
		return 0x8000 + low % 72;
	case 6:
		return 0x48000 + low % 12;
	}
	return ((uint64_t)where << 8 | low) * 8 + (where & 7);
}

static void access_bar(struct machine_without_kvm *m, struct ops *o, unsigned len, bool write)
{
	uint64_t off = place(o);

	if (off + len > 0x80000)
		return;
	if (write)
		out(m, off, ops_take(o, len), len);
	else
		(void)in(m, off, len);
}

static void access_config(struct machine_without_kvm *m, struct ops *o, unsigned len, bool write)
{
	unsigned reg = (unsigned)ops_take(o, 1);

	if (write)
		cfg_out(m, reg, (uint32_t)ops_take(o, len < 4 ? len : 4), len < 4 ? len : 4);
	else
		(void)cfg_in(m, reg, len < 4 ? len : 4);
}

static void act_as_back_end(struct machine_without_kvm *m, struct ops *o)
{
	uint8_t what = (uint8_t)ops_take(o, 1);
	uint64_t one = 1, space = 0;

	switch (what & 7) {
	case 0:
		virtio_dev_needs_reset(m->dev);
		break;
	case 1:
		space = ops_take(o, 4);
		virtio_dev_set_config(m->dev, &space, what >> 3 & 7);
		break;
	case 2:
		m->stops_late = (what & 8) != 0;
		break;
	case 3:
		if (m->starts == m->stops)
			virtio_dev_stopped(m->dev);
		break;
	case 4:
		ops_promise(write(m->call[(what >> 3) % QUEUES], &one, sizeof(one)) == sizeof(one));
		fake_poll();
		break;
	default:
		errands_serve(&m->es);
	}
}

/* Whatever state it was left in. */
static void check_reset(struct machine_without_kvm *m)
{
	cfg_out(m, 0x9A, 0, 2);
	m->stops_late = false;
	set_status(m, 0);
	virtio_dev_stopped(m->dev);
	ops_promise(status(m) == 0 && fake.n_irqfds == 0 && m->starts == m->stops);
	m->starts = m->stops = 0;
	bring_up(m);
	ops_promise(m->starts == 1 && m->acked == FEATURES && fake.n_irqfds == QUEUES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct machine_without_kvm m;
	struct ops o = { data, size };
	struct seen seen = { .starts = 0 };

	memset(&m, 0, sizeof(m));
	ops_promise(machine_without_kvm_init(&m, &(struct virtio_dev_cfg){ .type = VIRTIO_ID_BLOCK,
									   .config_len = SPACE,
									   .config_len_hidden = true,
									   .writable_off = 32,
									   .writable_len = 1,
									   .bar32 = true }) == 0);
	while (o.left > 0) {
		uint8_t op = (uint8_t)ops_take(&o, 1);
		unsigned len = 1 + (op & 7);

		switch (op >> 3 & 3) {
		case 0:
		case 1:
			access_bar(&m, &o, len, (op & 0x80) != 0);
			break;
		case 2:
			access_config(&m, &o, len, (op & 0x80) != 0);
			break;
		default:
			act_as_back_end(&m, &o);
		}
		check(&m, &seen);
	}
	check_reset(&m);
	machine_without_kvm_fini(&m);
	return 0;
}
