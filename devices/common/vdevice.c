/* SPDX-License-Identifier: ISC */
#include "devices/common/vdevice.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "common/ev.h"
#include "devices/common/helper.h"
#include "devices/common/vdevice_internal.h"

unsigned vdevice_n_queues(const struct vdevice *vd)
{
	return vd->n_queues;
}

uint16_t vdevice_queue_size(const struct vdevice *vd)
{
	return vd->queue_size;
}

bool vdevice_is_alone(const struct vdevice *vd)
{
	return vd->alone;
}

void vdevice_set_queues(struct vdevice *vd, unsigned n)
{
	if (n > 0 && n <= vd->ops->queues_max)
		vd->n_queues = n;
}

void vdevice_set_features(struct vdevice *vd, uint64_t features, uint64_t without)
{
	const uint64_t own = UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
			     UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;

	vd->server.features = (features | own) & ~without;
}

void vdevice_set_config(struct vdevice *vd, const void *image, uint32_t len, uint32_t w_off, uint32_t w_len)
{
	struct vu_server *s = &vd->server;

	if (len > sizeof(s->config))
		return;
	/* The first image is no change: nobody has seen another. */
	bool differs = s->config_len != 0 && (s->config_len != len || memcmp(s->config, image, len) != 0);
	memcpy(s->config, image, len);
	s->config_len = len;
	s->w_off = w_off;
	s->w_len = w_len;
	if (differs && s->fd >= 0)
		vu_server_config_changed(s);
}

const void *vdevice_config(const struct vdevice *vd)
{
	return vd->server.config;
}

void vdevice_count(struct vdevice *vd, unsigned counter, uint64_t n)
{
	if (counter < STATS_COUNTERS_MAX)
		atomic_fetch_add_explicit(&vd->stats->v[counter], n, memory_order_relaxed);
}

struct stats_page *vdevice_stats(struct vdevice *vd)
{
	return vd->stats;
}

void vdevice_finish(struct vdevice *vd, int status)
{
	if (vd->status < 0)
		vd->status = status;
	(void)event_base_loopbreak(vd->base);
}

/* Whoever starts a helper for a virtual machine gives it nothing to read and its control socket as descriptor 3. */
static bool is_jailed(int argc)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return argc <= 1 && getsockopt(HELPER_FD_CONTROL, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

int vdevice_main(const struct vdevice_ops *ops, void *dev, struct vdevice **self, int argc, char **argv)
{
	/* Not on the stack: it holds messages and tables. */
	static struct vdevice vd;

	vd = (struct vdevice){ .ops = ops, .dev = dev, .main_wake = -1, .status = -1, .own_top = VDEVICE_FD_FIRST_OWN };
	vd.n_workers = 1;
	vd.stats = &vd.own_stats;
	*self = &vd;
	return is_jailed(argc) ? vdevice_jailed_main(&vd, argc, argv) : vdevice_alone_main(&vd, argc, argv);
}
