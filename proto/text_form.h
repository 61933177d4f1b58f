/* SPDX-License-Identifier: ISC */
/* Texts with a grammar of their own: MAC addresses and IP addresses. */
#ifndef PROTO_TEXT_FORM_H
#define PROTO_TEXT_FORM_H

#include "common/cleanup.h"
#include "proto/desc.h"

enum { TEXT_FORM_MAX = 48 }; /* bytes of the longest one, and a NUL */

/* @s in its canonical spelling (lower case; the short form of an IPv6 address). TF_ANY has none: -EINVAL.
 * 0 or -EINVAL: @s is not of that form. */
int text_form_canon(enum text_form form, const char *s, char out[TEXT_FORM_MAX]) __must_check;
/* What people call it: "a MAC address". */
const char *text_form_name(enum text_form form);

#endif
