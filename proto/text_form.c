/* SPDX-License-Identifier: ISC */
#include "proto/text_form.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

_Static_assert(INET6_ADDRSTRLEN <= TEXT_FORM_MAX, "the longest address");

enum { MAC_TEXT = 17 }; /* six groups of two digits */

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static int canon_mac(const char *s, char out[TEXT_FORM_MAX])
{
	if (strlen(s) != MAC_TEXT)
		return -EINVAL;
	for (unsigned i = 0; i < MAC_TEXT; i++) {
		char c = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] | 0x20) : s[i];

		if (i % 3 == 2 ? c != ':' : !is_hex(c))
			return -EINVAL;
		out[i] = c;
	}
	out[MAC_TEXT] = '\0';
	return 0;
}

static int canon_ip(const char *s, char out[TEXT_FORM_MAX])
{
	struct in6_addr addr; /* room for either */

	for (int family = AF_INET;; family = AF_INET6) {
		if (inet_pton(family, s, &addr) == 1)
			return inet_ntop(family, &addr, out, TEXT_FORM_MAX) != NULL ? 0 : -EINVAL;
		if (family == AF_INET6)
			return -EINVAL;
	}
}

int text_form_canon(enum text_form form, const char *s, char out[TEXT_FORM_MAX])
{
	switch (form) {
	case TF_MAC:
		return canon_mac(s, out);
	case TF_IP:
		return canon_ip(s, out);
	case TF_ANY:
		break;
	}
	return -EINVAL;
}

const char *text_form_name(enum text_form form)
{
	switch (form) {
	case TF_MAC:
		return "a MAC address";
	case TF_IP:
		return "an IP address";
	case TF_ANY:
		break;
	}
	return "a text";
}
