/* SPDX-License-Identifier: ISC */
/* The virtio console's side of cloister-console. */
#ifndef DEVICES_CONSOLE_CONSOLE_VIRTIO_H
#define DEVICES_CONSOLE_CONSOLE_VIRTIO_H

/* The first argument of a helper that the monitor starts for a virtio console; without any it is a serial port's,
 * with others it runs alone. */
#define CONSOLE_VIRTIO_WORD "virtio"

/* The whole life: jailed when there is no argument behind argv[0], else alone. Returns the exit status. */
int virtio_console_main(int argc, char **argv);

#endif
