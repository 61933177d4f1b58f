/* SPDX-License-Identifier: ISC */
/* Counters of a disk, in its statistics page. */
#ifndef DEVICES_BLK_BLK_STATS_H
#define DEVICES_BLK_BLK_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/stats_page.h"

/* First values, for whoever has no page that was made for it. */
void blk_stats_init(struct stats_page *page);
/* One read or write that succeeded and took @us microseconds. Several threads: the caller holds a lock. */
void blk_stats_add(struct stats_page *page, bool write, uint64_t bytes, uint64_t us);

#endif
