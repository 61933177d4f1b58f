/* SPDX-License-Identifier: ISC */
/*
 * Formats are looked for in a fixed order: qcow2, fixed VHD (its footer is at the end), VHDX, the text descriptor of a
 * flat VMDK, else raw. Nothing that an image says about other files is read, let alone opened.
 */
#include "devices/blk/blk_probe.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "common/str.h"

static bool begins(const uint8_t *p, size_t n, const void *with, size_t len)
{
	return n >= len && memcmp(p, with, len) == 0;
}

/* Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format": cookie, and disk type 2 (fixed) at 60. */
static bool is_fixed_vhd(const uint8_t *tail)
{
	uint32_t type;

	memcpy(&type, tail + 60, sizeof(type));
	return memcmp(tail, "conectix", 8) == 0 && be32toh(type) == 2;
}

/* A word of [p, end) without the blanks around it. */
static size_t trim(const char **p, const char *end)
{
	while (*p < end && (**p == ' ' || **p == '\t'))
		(*p)++;
	while (end > *p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	return (size_t)(end - *p);
}

static bool word_is(const char *p, const char *end, const char *word)
{
	size_t n = trim(&p, end);

	return n == strlen(word) && strncasecmp(p, word, n) == 0;
}

/* One line of the descriptor: createType="monolithicFlat" or "twoGbMaxExtentFlat". */
static bool line_says_flat(const char *line, const char *end)
{
	const char *eq = memchr(line, '=', (size_t)(end - line));

	if (eq == NULL || !word_is(line, eq, "createType"))
		return false;
	return word_is(eq + 1, end, "\"monolithicFlat\"") || word_is(eq + 1, end, "\"twoGbMaxExtentFlat\"");
}

/* Virtual Disk Format 5.0, "The Descriptor File": text lines behind a first line that is a comment. */
static bool is_flat_vmdk(const uint8_t *head, size_t n)
{
	static const char first[] = "# Disk DescriptorFile";
	const char *p = (const char *)head, *end = p + n;

	if (n < sizeof(first) - 1 || strncasecmp(p, first, sizeof(first) - 1) != 0)
		return false;
	while (p < end) {
		const char *eol = memchr(p, '\n', (size_t)(end - p));

		if (eol == NULL)
			eol = end;
		if (line_says_flat(p, eol))
			return true;
		p = eol < end ? eol + 1 : end;
	}
	return false;
}

enum image_type blk_probe(const uint8_t *head, size_t n, const uint8_t *tail)
{
	if (begins(head, n, "QFI\xfb", 4))
		return IMAGE_TYPE_QCOW2;
	if (tail != NULL && is_fixed_vhd(tail))
		return IMAGE_TYPE_FIXED_VHD;
	if (begins(head, n, "vhdxfile", 8))
		return IMAGE_TYPE_VHDX;
	if (is_flat_vmdk(head, n))
		return IMAGE_TYPE_FLAT_VMDK;
	return IMAGE_TYPE_RAW;
}

static const char *type_name(enum image_type type)
{
#define NAME(constant, json, kv) [constant] = (json),
	static const char *const names[] = { IMAGE_TYPES(NAME) };
#undef NAME

	return (size_t)type < nitems(names) ? names[type] : "?";
}

int blk_probe_check(enum image_type configured, enum image_type found, struct err *e)
{
	if (configured != IMAGE_TYPE_UNKNOWN && configured != found)
		return err_set(e, -EINVAL, "image type is configured as %s, but the image is %s", type_name(configured),
			       type_name(found));
	if (found != IMAGE_TYPE_RAW)
		return err_set(e, -ENOTSUP, "image type %s is not supported by this build", type_name(found));
	return 0;
}
