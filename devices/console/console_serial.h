/* SPDX-License-Identifier: ISC */
/* A serial port's side of cloister-console. */
#ifndef DEVICES_CONSOLE_CONSOLE_SERIAL_H
#define DEVICES_CONSOLE_CONSOLE_SERIAL_H

/* The whole life of a helper that the monitor started for vmmd's 16550. Returns its exit status. */
int serial_console_main(int argc, char **argv);

#endif
