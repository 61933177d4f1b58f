/* SPDX-License-Identifier: ISC */
/*
 * cloister-console: the host side of one character device, in one of two lives. Without arguments it is a serial port's
 * (console_serial.c).
 */
#include "devices/console/console_serial.h"

int main(int argc, char **argv)
{
	return serial_console_main(argc, argv);
}
