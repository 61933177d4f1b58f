/* SPDX-License-Identifier: ISC */
#include "devices/net/tapdev.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/fd.h"
#include "devices/net/net_hdr.h"

_Static_assert((int)TAP_NAME_BYTES == IFNAMSIZ, "net/if.h");

#define TUN_CONTROL "/dev/net/tun"

int tapdev_check_name(const char *name, struct err *e)
{
	size_t len = strlen(name);

	if (len == 0 || len >= TAP_NAME_BYTES)
		return err_set(e, -EINVAL, "an interface's name has 1 to %d bytes", TAP_NAME_BYTES - 1);
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return err_set(e, -EINVAL, "no interface can have this name");
	for (const char *p = name; *p != '\0'; p++)
		if (!isgraph((unsigned char)*p) || *p == '/' || *p == ':' || *p == '%')
			return err_set(e, -EINVAL, "an interface's name has no blanks, \"/\", \":\" or \"%%\"");
	return 0;
}

/* #syscalls monitor: openat */
int tapdev_open_control(int *fds, unsigned n, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		fds[i] = open(TUN_CONTROL, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fds[i] < 0) {
			int r = -errno;

			fd_close_all(fds, i);
			if (r == -ENOENT || r == -ENXIO || r == -ENODEV)
				return err_set(e, r, "this host has no taps (" TUN_CONTROL " is missing)");
			return err_sys(e, r, TUN_CONTROL);
		}
	}
	return 0;
}

/* What virtio-net needs of every queue.
 * #syscalls tap: ioctl(ANY: TUNSETVNETHDRSZ, TUNSETVNETLE, TUNSETOFFLOAD)
 */
static int set_modes(int fd, struct err *e)
{
	int bytes = NET_HDR_BYTES, little = 1;

	if (ioctl(fd, TUNSETVNETHDRSZ, &bytes) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0)
		return err_sys(e, -errno, "setting the virtio header");
	if (ioctl(fd, TUNSETOFFLOAD, 0) < 0)
		return err_sys(e, -errno, "clearing offloads");
	return 0;
}

/* The kernel says EINVAL for several of these: look first. */
static int check_found(const struct tap_found *found, unsigned n, struct err *e)
{
	switch (found->kind) {
	case TAP_ABSENT:
		return 0;
	case TAP_TUN:
		return err_set(e, -EINVAL, "it exists and is a tun interface: a tap is needed");
	case TAP_OTHER:
		if (found->what[0] != '\0')
			return err_set(e, -EINVAL, "it exists and is no tap but a %s interface", found->what);
		return err_set(e, -EINVAL, "it exists and is no tap");
	case TAP_TAP:
		break;
	}
	if (n > 1 && !found->multi_queue)
		return err_set(e, -EINVAL, "it exists without multi-queue, which %u queue pairs need", n);
	if (n == 1 && found->multi_queue)
		return err_set(e, -EINVAL, "it exists with multi-queue: one queue pair needs a tap without");
	return 0;
}

static int refused(int error, const struct tap_found *found, struct err *e)
{
	switch (error) {
	case EBUSY:
		return err_set(e, -EBUSY, found->kind == TAP_ABSENT ? "it appeared just now: somebody else makes it" :
								      "it is in use by another process");
	case E2BIG:
		return err_set(e, -E2BIG, "it has no more free queues");
	case EPERM:
	case EACCES:
		return err_set(e, -EPERM, found->kind == TAP_ABSENT ? "no permission to make it (CAP_NET_ADMIN)" :
								      "no permission to use it: it has another owner");
	default:
		return err_sys(e, -error, "attaching to it");
	}
}

/* #syscalls tap: ioctl(ANY: TUNSETIFF) */
int tapdev_attach(const int *fds, unsigned n, char name[TAP_NAME_BYTES], const struct tap_found *found, bool *made,
		  struct err *e)
{
	const short flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (n > 1 ? IFF_MULTI_QUEUE : 0);
	struct ifreq ifr = { 0 };
	int r = check_found(found, n, e);

	if (r < 0)
		return r;
	*made = found->kind == TAP_ABSENT;
	memcpy(ifr.ifr_name, name, TAP_NAME_BYTES);
	for (unsigned i = 0; i < n; i++) {
		/* The first makes it: exclusively, so that "made" is true. */
		ifr.ifr_flags = (short)(flags | (i == 0 && *made ? (short)IFF_TUN_EXCL : 0));
		if (ioctl(fds[i], TUNSETIFF, &ifr) < 0)
			return refused(errno, found, e);
		if ((r = set_modes(fds[i], e)) < 0)
			return r;
	}
	memcpy(name, ifr.ifr_name, TAP_NAME_BYTES - 1);
	return 0;
}

int tapdev_refuse_pi(const char *name, struct err *e)
{
	return err_set(e, -EINVAL, "tap \"%s\" puts packet information in front of frames (open it with IFF_NO_PI)", name);
}

/* A macvtap answers like a tap.
 * #syscalls tap: ioctl(ANY: TUNGETIFF, SIOCGIFHWADDR) fcntl(F_GETFL, F_SETFL)
 */
int tapdev_check_given(int fd, unsigned n_pairs, char name[TAP_NAME_BYTES], uint8_t mac[TAP_MAC_BYTES], struct err *e)
{
	struct ifreq ifr = { 0 };

	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return errno == EBADFD ? err_set(e, -EINVAL, "it is not attached to an interface") :
					 err_set(e, -EINVAL, "it is no tap");
	int flags = (unsigned short)ifr.ifr_flags;
	memcpy(name, ifr.ifr_name, TAP_NAME_BYTES - 1);
	name[TAP_NAME_BYTES - 1] = '\0';
	if ((flags & IFF_TAP) == 0)
		return err_set(e, -EINVAL, "\"%s\" is a tun interface: a tap is needed", name);
	if ((flags & IFF_NO_PI) == 0)
		return tapdev_refuse_pi(name, e);
	if ((flags & IFF_VNET_HDR) == 0)
		return err_set(e, -EINVAL, "tap \"%s\" has no virtio header (open it with IFF_VNET_HDR)", name);
	/* The other way round does no harm: some clients open every tap with multi-queue. */
	if (n_pairs > 1 && (flags & IFF_MULTI_QUEUE) == 0)
		return err_set(e, -EINVAL, "tap \"%s\" is not multi-queue, which %u queue pairs need", name, n_pairs);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		memset(mac, 0, TAP_MAC_BYTES);
	else
		memcpy(mac, ifr.ifr_hwaddr.sa_data, TAP_MAC_BYTES);
	int r = fd_set_nonblock(fd, true);
	if (r < 0)
		return err_sys(e, r, "tap \"%s\"", name);
	r = set_modes(fd, e);
	return r < 0 ? err_wrap(e, r, "tap \"%s\"", name) : 0;
}
