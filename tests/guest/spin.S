/* SPDX-License-Identifier: ISC */
/* Says that it runs, then runs for ever. */
#include "payload.h"

start:
	ENTER
	SAY "spinning\n"
	jmp park
