/* SPDX-License-Identifier: ISC */
/*
 * cloister-console: the host side of one character device, in one of three lives: a serial port's, a virtio console's, or by
 * hand a virtio console of somebody else's front end.
 */
#include <string.h>

#include "devices/console/console_serial.h"
#include "devices/console/console_virtio.h"

int main(int argc, char **argv)
{
	if (argc <= 1)
		return serial_console_main(argc, argv);
	if (argc == 2 && strcmp(argv[1], CONSOLE_VIRTIO_WORD) == 0)
		return virtio_console_main(1, argv);
	return virtio_console_main(argc, argv);
}
