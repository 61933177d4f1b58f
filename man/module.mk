# SPDX-License-Identifier: ISC
MAN_PAGES += man/cloister.1 man/cloister-apid.8 man/cloister-vmmd.8 man/cloister-monitor.8 man/cloister-console.8 man/cloister-blk.8 man/cloister-net.8 man/cloister-tap.8 man/cloister-rng.8
