/* SPDX-License-Identifier: ISC */
/* cloister-blk's main() under another name, for the benchmark that runs the same code as a thread. */
int cloister_blk_main(int argc, char **argv);
#define main cloister_blk_main
#include "devices/blk/blk.c"
