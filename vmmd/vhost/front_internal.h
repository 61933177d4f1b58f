/* SPDX-License-Identifier: ISC */
/* Building blocks of requests, for front.c, front_run.c and front_config.c. */
#ifndef VMMD_VHOST_FRONT_INTERNAL_H
#define VMMD_VHOST_FRONT_INTERNAL_H

#include "vmmd/vhost/front.h"

static inline bool vhost_has(const struct vhost_front *f, enum vhost_user_protocol_feature bit)
{
	return (f->proto & VHOST_USER_BIT(bit)) != 0;
}
/* Rings are disabled until they are enabled. */
static inline bool vhost_has_enable(const struct vhost_front *f)
{
	return (f->features & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)) != 0;
}

void vhost_put(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len);
void vhost_put_u64(struct vhost_front *f, uint32_t type, uint64_t v);
/* Asks for an acknowledgement where they are to be had. */
void vhost_put_acked(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len, const int *fds,
		     unsigned n_fds);
void vhost_ask(struct vhost_front *f, uint32_t type, const void *payload, uint32_t len, struct vhost_expect expect,
	       uint32_t timeout_ms);

void vhost_front_protocol_error(struct vhost_front *f, const char *why);

/* --- front_config.c --------------------------------------------------------------------------------------------------- */

void vhost_config_ask(struct vhost_front *f);
void vhost_config_reset(struct vhost_front *f);
/* The driver that wrote is no more. */
void vhost_config_forget(struct vhost_front *f);
/* An answer to GET_CONFIG or SET_CONFIG. True: the copy has changed. */
bool vhost_config_got(struct vhost_front *f, const struct vhost_reply *r);
void vhost_config_set_done(struct vhost_front *f);

/* --- front_run.c ------------------------------------------------------------------------------------------------------ */

void vhost_run_inflight(struct vhost_front *f, const struct vhost_reply *r, int *fd);
void vhost_run_base(struct vhost_front *f);

#endif
