/* SPDX-License-Identifier: ISC */
/* The key=value grammar, rule by rule, and each option that this build parses. */
#include "proto/codec_kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"
#include "proto/kv_text.h"

/* An object with every kind of value, served, so that the grammar can be tested apart from what the build serves. */
#define PAIR_FIELDS(F, S) \
	F(S, U32, key, REQ, 0, ANY, SERVED, "key") \
	F(S, U64, list, LIST, 0, R(0, 64), SERVED, "list")
#define TEXT_PAIR_FIELDS(F, S) \
	F(S, STR, key, REQ, 0, ANY, SERVED, "key") \
	F(S, U8, value, REQ, 0, ANY, SERVED, "value")
#define FLAGS_FIELDS(F, S) \
	F(S, BOOL, red, DEF, false, ANY, SERVED, "red") \
	F(S, BOOL, blue, DEF, false, ANY, SERVED, "blue")
#define QUAD_FIELDS(F, S) \
	F(S, U16, w, REQ, 0, ANY, SERVED, "w") \
	F(S, U16, x, REQ, 0, ANY, SERVED, "x") \
	F(S, U16, y, REQ, 0, R(0, 9), SERVED, "y")
#define ALL_KINDS_FIELDS(F, S) \
	F(S, STR, text, NULLABLE, 0, R(0, 16), SERVED, "text", .kv = KV_STR) \
	F(S, U8, num, DEF, 7, ANY, SERVED, "num", .kv = KV_INT) \
	F(S, U16, like, DEF, 0, ANY, SERVED, "like", .kv = KV_INT, .kv_like_prev = true) \
	F(S, U64, size, OPT, 0, ANY, SERVED, "size", .kv = KV_SIZE) \
	F(S, BOOL, on, DEF, true, ANY, SERVED, "on", .kv = KV_TOGGLE) \
	F(S, U16, hex, OPT, 0, ANY, SERVED, "hex", .kv = KV_HEX) \
	F(S, ENUM(core_scheduling), sched, DEF, CORE_SCHEDULING_VM, ANY, SERVED, "sched", .kv = KV_ENUM) \
	F(S, ENUM(cpu_profile), exact, DEF, CPU_PROFILE_HOST, ANY, SERVED, "exact", .kv = KV_ENUM_CASE) \
	F(S, U8, ints, OPTLIST, 0, R(0, 8), SERVED, "ints", .kv = KV_INTS) \
	F(S, STR, strs, OPTLIST, 0, R(0, 4), SERVED, "strs", .kv = KV_STRS) \
	F(S, OBJ(kv_pair), pairs, OPTLIST, 0, R(0, 4), SERVED, "pairs", .kv = KV_TUPLES) \
	F(S, OBJ(kv_text_pair), texts, OPTLIST, 0, R(0, 4), SERVED, "texts", .kv = KV_TUPLES) \
	F(S, OBJ(kv_flags), flags, DEF, 0, ANY, SERVED, "flags", .kv = KV_NAMES) \
	F(S, OBJ(kv_quad), quad, OPT, 0, ANY, SERVED, "quad", .kv = KV_COLONS) \
	F(S, ANY, dropped, UNSTORED, 0, ANY, SERVED, "dropped", .kv = KV_IGNORED)
#define NEEDY_FIELDS(F, S) \
	F(S, U16, a, REQ, 0, R(1, 100), SERVED, "a", .kv = KV_INT, .kv_req = true) \
	F(S, U8, b, DEF, 1, ANY, SERVED, "b", .kv = KV_INT)
#define TEST_OBJECTS(X) \
	X(kv_pair, 1, PAIR_FIELDS) \
	X(kv_text_pair, 1, TEXT_PAIR_FIELDS) \
	X(kv_flags, 1, FLAGS_FIELDS) \
	X(kv_quad, 1, QUAD_FIELDS) \
	X(kv_all, 1, ALL_KINDS_FIELDS) \
	X(kv_needy, 1, NEEDY_FIELDS)
#define TEST_DECLARE(S, ver, FIELDS) DESC_DECLARE(CFG_MEMBER, S, FIELDS)
#define TEST_DEFINE(S, ver, FIELDS) DESC_DEFINE(CFG_FIELD, S, ver, FIELDS)
TEST_OBJECTS(TEST_DECLARE)
TEST_OBJECTS(TEST_DEFINE)

static void take(const char *text, struct kv_all *o)
{
	struct err e = { 0 };

	if (kv_decode(&desc_kv_all, o, text, &e) != 0)
		fail_msg("%s: %s", text, err_text(&e, 0));
}

static void refuse_of(const struct desc *d, const char *text, int code, const char *want)
{
	uint8_t obj[1024], zero[1024] = { 0 };
	struct err e = { 0 };
	int r;

	assert_true(d->size <= sizeof(obj));
	memset(obj, 0xff, sizeof(obj));
	r = kv_decode(d, obj, text, &e);
	if (r != code || err_code(&e, 0) != code)
		fail_msg("\"%s\": %d (%s), expected %d", text, r, err_text(&e, 0), code);
	if (want != NULL && strcmp(err_text(&e, 0), want) != 0)
		fail_msg("\"%s\": \"%s\", expected \"%s\"", text, err_text(&e, 0), want);
	assert_memory_equal(obj, zero, d->size);
	assert_int_equal(kv_decode(d, obj, text, NULL), code);
}

static void refuse(const char *text)
{
	refuse_of(&desc_kv_all, text, -EINVAL, NULL);
}

static void kv_blank_text_gives_all_defaults(void **state)
{
	static const char *const texts[] = { "", " ", " \t\n ", "text=", "num=,on= ", "size=" };

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		struct kv_all o;

		take(texts[i], &o);
		assert_null(o.text);
		assert_int_equal(o.num, 7);
		assert_int_equal(o.like, 7); /* as the row above */
		assert_false(o.has_size);
		assert_true(o.on);
		assert_false(o.has_ints);
		assert_false(o.has_quad);
		obj_fini(&desc_kv_all, &o);
	}
}

static void kv_pieces_are_split_at_commas_outside_quotes_and_brackets(void **state)
{
	struct kv_all o;

	(void)state;
	take("  text=\"a,b\",ints=[1,2],num=9  ", &o);
	assert_string_equal(o.text, "a,b");
	assert_int_equal(o.n_ints, 2);
	assert_int_equal(o.num, 9);
	obj_fini(&desc_kv_all, &o);
	take("text=\"[,\",num=8", &o);
	assert_string_equal(o.text, "[,");
	assert_int_equal(o.num, 8);
	obj_fini(&desc_kv_all, &o);
}

static void kv_pieces_are_split_at_the_first_equals_sign(void **state)
{
	struct kv_all o;

	(void)state;
	take("text=a=b==c", &o);
	assert_string_equal(o.text, "a=b==c");
	obj_fini(&desc_kv_all, &o);
	take("text=  x y  ,num= 5 ", &o); /* the right side is trimmed */
	assert_string_equal(o.text, "x y");
	assert_int_equal(o.num, 5);
	obj_fini(&desc_kv_all, &o);
}

static void kv_syntax_errors_are_refused(void **state)
{
	static const char *const texts[] = {
		",",	     "num=1,",	 ",num=1",	"num=1,,on=off", "num",	    "num,on=off", "text",     "=",	  "=1",
		"nosuch=1",  "Num=1",	 "NUM=1",	" num =1",	 "num =1",  "on=on, num=1", "\"num\"=1", "text=\"a", "text=a\"",
		"text=[",    "text=]",	 "text=[[]",	"text=[]]",	 "ints=[1", "ints=1]",	  "text=\"[\"\"", "x", "dropped", ";num=1",
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++)
		refuse(texts[i]);
	refuse_of(&desc_kv_all, "num=1,", -EINVAL, "unknown key \"\"");
	refuse_of(&desc_kv_all, "nosuch=1", -EINVAL, "unknown key \"nosuch\"");
	refuse_of(&desc_kv_all, "num", -EINVAL, "num: value missing");
	refuse_of(&desc_kv_all, "text=\"a", -EINVAL, "quotes or brackets are not closed");
}

static void kv_last_of_a_key_wins(void **state)
{
	struct kv_all o;

	(void)state;
	take("num=1,text=a,num=2,text=b,num=3", &o);
	assert_int_equal(o.num, 3);
	assert_string_equal(o.text, "b");
	obj_fini(&desc_kv_all, &o);
	take("num=1,num=", &o); /* and an empty one is not given */
	assert_int_equal(o.num, 7);
	obj_fini(&desc_kv_all, &o);
}

static void kv_ignored_key_is_taken_and_dropped(void **state)
{
	struct kv_all o;

	(void)state;
	take("dropped=whatever", &o);
	obj_fini(&desc_kv_all, &o);
}

static void kv_quotes_are_removed(void **state)
{
	static const struct {
		const char *in, *out;
	} texts[] = {
		{ "text=\"\"", "" },
		{ "text=\"\"\"\"", "\"" },
		{ "text=\"a\"", "a" },
		{ "text=a\"b\"c", "abc" },
		{ "text=\"a\"\"b\"", "a\"b" },
		{ "text=\"a\"b\"c\"", "abc" },
		{ "text=\" a \"", " a " },
		{ "text=\"\\n\"", "\\n" }, /* no escapes */
	};

	(void)state;
	for (size_t i = 0; i < nitems(texts); i++) {
		struct kv_all o;

		take(texts[i].in, &o);
		assert_string_equal(o.text, texts[i].out);
		obj_fini(&desc_kv_all, &o);
	}
}

static void kv_strings_have_a_length(void **state)
{
	struct kv_all o;

	(void)state;
	take("text=0123456789abcdef", &o);
	obj_fini(&desc_kv_all, &o);
	refuse("text=0123456789abcdefg");
}

static void kv_integers(void **state)
{
	static const char *const bad[] = { "num=-1", "num=256", "num=0x10", "num=1.0", "num=1 2", "num=a", "num=++1",
					   "num=+",  "num=1K",	"num=18446744073709551616", "num=\"-1\"" };
	static const struct {
		const char *in;
		uint8_t v;
	} good[] = { { "num=0", 0 }, { "num=255", 255 }, { "num=+5", 5 }, { "num=007", 7 }, { "num=\"9\"", 9 } };
	struct kv_all o;

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
	for (size_t i = 0; i < nitems(good); i++) {
		take(good[i].in, &o);
		assert_int_equal(o.num, good[i].v);
		assert_int_equal(o.like, good[i].v);
		obj_fini(&desc_kv_all, &o);
	}
	take("like=300,num=2", &o);
	assert_int_equal(o.like, 300);
	obj_fini(&desc_kv_all, &o);
	refuse_of(&desc_kv_all, "num=256", -EINVAL, "num: \"256\" is out of range");
	refuse_of(&desc_kv_all, "num=x", -EINVAL, "num: \"x\" is not valid");
}

static void kv_sizes(void **state)
{
	static const struct {
		const char *in;
		uint64_t v;
	} good[] = {
		{ "size=0", 0 },
		{ "size=4096", 4096 },
		{ "size=1K", 1024 },
		{ "size=512M", UINT64_C(512) << 20 },
		{ "size= 5G ", UINT64_C(5) << 30 },
		{ "size=18446744073709551615", UINT64_MAX },
		{ "size=17179869183G", UINT64_C(17179869183) << 30 },
	};
	static const char *const bad[] = { "size=1k", "size=1KiB", "size=1.5G", "size=-1", "size=x", "size=M", "size=0x10",
					   "size=17179869184G", "size=18446744073709551616", "size=1T", "size=1 K" };
	struct kv_all o;

	(void)state;
	for (size_t i = 0; i < nitems(good); i++) {
		take(good[i].in, &o);
		assert_true(o.has_size);
		assert_true(o.size == good[i].v);
		obj_fini(&desc_kv_all, &o);
	}
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
}

static void kv_toggles(void **state)
{
	static const char *const off[] = { "on=off", "on=OFF", "on=false", "on=False" };
	static const char *const on[] = { "on=on", "on=On", "on=true", "on=TRUE" };
	static const char *const bad[] = { "on=yes", "on=1", "on=0", "on=\"on\"", "on=o" };
	struct kv_all o;

	(void)state;
	for (size_t i = 0; i < nitems(off); i++) {
		take(off[i], &o);
		assert_false(o.on);
		take(on[i], &o);
		assert_true(o.on);
		obj_fini(&desc_kv_all, &o);
	}
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
}

static void kv_hex_needs_its_prefix(void **state)
{
	static const char *const bad[] = { "hex=402", "hex=0x", "hex=0X402", "hex=0x10000", "hex=0xg", "hex=-0x1", "hex= 0x1 2",
					   "hex=0x10000000000000000" };
	struct kv_all o;

	(void)state;
	take("hex=0x402", &o);
	assert_int_equal(o.hex, 0x402);
	take("hex=0xFfFf", &o);
	assert_int_equal(o.hex, 0xffff);
	obj_fini(&desc_kv_all, &o);
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
}

static void kv_enums(void **state)
{
	struct kv_all o;

	(void)state;
	take("sched=VCPU,exact=Host", &o);
	assert_int_equal(o.sched, CORE_SCHEDULING_VCPU);
	obj_fini(&desc_kv_all, &o);
	take("sched=\"off\"", &o);
	assert_int_equal(o.sched, CORE_SCHEDULING_OFF);
	obj_fini(&desc_kv_all, &o);
	refuse("sched=x");
	refuse("exact=host");
	refuse("exact=HOST");
}

static void kv_integer_lists(void **state)
{
	static const char *const bad[] = { "ints=[]", "ints=[1,]", "ints=[,1]", "ints=[1,,2]", "ints=[3-3]", "ints=[5-3]",
					   "ints=[1-]", "ints=[-1]", "ints=[1-2-3]", "ints=[ 1]", "ints=[1, 2]", "ints=[256]",
					   "ints=[a]", "ints=[1,2,3,4,5,6,7,8,9]", "ints=[0-8]", "ints=[0-18446744073709551615]" };
	struct kv_all o;

	(void)state;
	take("ints=[1,3-5,255]", &o);
	assert_true(o.has_ints);
	assert_int_equal(o.n_ints, 5);
	assert_int_equal(o.ints[0], 1);
	assert_int_equal(o.ints[1], 3);
	assert_int_equal(o.ints[3], 5);
	assert_int_equal(o.ints[4], 255);
	obj_fini(&desc_kv_all, &o);
	take("ints=4", &o); /* brackets may be left out */
	assert_int_equal(o.n_ints, 1);
	assert_int_equal(o.ints[0], 4);
	obj_fini(&desc_kv_all, &o);
	take("ints=[[0-7]]", &o);
	assert_int_equal(o.n_ints, 8);
	obj_fini(&desc_kv_all, &o);
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
}

static void kv_string_lists_keep_quotes_and_blanks(void **state)
{
	struct kv_all o;

	(void)state;
	take("strs=[a, b,\"c,d\"]", &o);
	assert_int_equal(o.n_strs, 3);
	assert_string_equal(o.strs[0], "a");
	assert_string_equal(o.strs[1], " b");
	assert_string_equal(o.strs[2], "\"c,d\"");
	obj_fini(&desc_kv_all, &o);
	take("strs=one", &o);
	assert_int_equal(o.n_strs, 1);
	obj_fini(&desc_kv_all, &o);
	refuse("strs=[1,2,3,4,5]"); /* more than the row takes */
}

static void kv_tuples(void **state)
{
	static const char *const bad[] = { "pairs=[]",	   "pairs=0@[1]", "pairs=[0]",	  "pairs=[0@]",	     "pairs=[@1]",
					   "pairs=[0@1@2]", "pairs=[a@1]", "pairs=[0@a]", "pairs=[0@[1],]", "pairs=[0@[]]",
					   "pairs=[-1@1]",  "pairs=[4294967296@1]", "pairs=[", "pairs=[0@1,1@2,2@3,3@4,4@5]" };
	struct kv_all o;

	(void)state;
	take("pairs=[0@[1,2-4], 7@9]", &o);
	assert_int_equal(o.n_pairs, 2);
	assert_int_equal(o.pairs[0].key, 0);
	assert_int_equal(o.pairs[0].n_list, 4);
	assert_int_equal(o.pairs[1].key, 7);
	assert_int_equal(o.pairs[1].n_list, 1);
	assert_true(o.pairs[1].list[0] == 9);
	obj_fini(&desc_kv_all, &o);
	take("texts=[net0@3,\"a@b\"@255]", &o);
	assert_int_equal(o.n_texts, 2);
	assert_string_equal(o.texts[0].key, "net0");
	assert_string_equal(o.texts[1].key, "a@b");
	assert_int_equal(o.texts[1].value, 255);
	obj_fini(&desc_kv_all, &o);
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
	refuse("texts=[\"\"@1]");
	refuse("texts=[a@256]");
}

static void kv_names_and_colons(void **state)
{
	static const char *const bad[] = { "quad=1:2",	 "quad=1:2:3:4", "quad=1:2:10", "quad=:2:3", "quad=1:2:", "quad=a:b:c",
					   "quad=65536:1:1", "flags=green", "flags=[red,]", "flags=[Red]" };
	struct kv_all o;

	(void)state;
	take("quad=1:65535:9,flags=[blue]", &o);
	assert_true(o.has_quad);
	assert_int_equal(o.quad.w, 1);
	assert_int_equal(o.quad.x, 65535);
	assert_int_equal(o.quad.y, 9);
	assert_false(o.flags.red);
	assert_true(o.flags.blue);
	obj_fini(&desc_kv_all, &o);
	take("flags=[red,blue]", &o);
	assert_true(o.flags.red && o.flags.blue);
	obj_fini(&desc_kv_all, &o);
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(bad[i]);
}

static void kv_required_keys_are_named(void **state)
{
	struct kv_needy o;

	(void)state;
	refuse_of(&desc_kv_needy, "", -EINVAL, "a: must be given");
	refuse_of(&desc_kv_needy, "b=2", -EINVAL, "a: must be given");
	refuse_of(&desc_kv_needy, "a=", -EINVAL, "a: must be given");
	refuse_of(&desc_kv_needy, "a=0", -EINVAL, NULL);
	refuse_of(&desc_kv_needy, "a=101", -EINVAL, NULL);
	assert_int_equal(kv_decode(&desc_kv_needy, &o, "a=100", NULL), 0);
	assert_int_equal(o.a, 100);
	assert_int_equal(o.b, 1);
}

/* --- the options of this build --------------------------------------------------------------------------------------- */

static void kv_cpus(void **state)
{
	struct cfg_cpus c;

	(void)state;
	assert_int_equal(kv_decode(&desc_cfg_cpus, &c, "", NULL), 0);
	assert_int_equal(c.boot_vcpus, 1);
	assert_int_equal(c.max_vcpus, 1);
	assert_int_equal(c.max_phys_bits, 46);
	assert_true(c.nested);
	assert_int_equal(kv_decode(&desc_cfg_cpus, &c, "boot=4", NULL), 0);
	assert_int_equal(c.boot_vcpus, 4);
	assert_int_equal(c.max_vcpus, 4);
	assert_int_equal(kv_decode(&desc_cfg_cpus, &c, "max=8,boot=4,max_phys_bits=39,nested=on,kvm_hyperv=off,"
							"core_scheduling=vm,profile=Host,topology=,affinity=,features=", NULL), 0);
	assert_int_equal(c.max_vcpus, 8);
	assert_int_equal(c.max_phys_bits, 39);
	obj_fini(&desc_cfg_cpus, &c);
	refuse_of(&desc_cfg_cpus, "topology=1:2:1:1", -ERR_INVALID, "\"topology\" is not supported by this build");
	refuse_of(&desc_cfg_cpus, "affinity=[0@[1]]", -ERR_INVALID, "\"affinity\" is not supported by this build");
	refuse_of(&desc_cfg_cpus, "features=amx", -ERR_INVALID, "\"features\" is not supported by this build");
	refuse_of(&desc_cfg_cpus, "nested=off", -ERR_INVALID, "\"nested\": \"off\" is not supported by this build");
	refuse_of(&desc_cfg_cpus, "kvm_hyperv=on", -ERR_INVALID, "\"kvm_hyperv\" is not supported by this build");
	refuse_of(&desc_cfg_cpus, "core_scheduling=off", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_cpus, "topology=1:2:1", -EINVAL, NULL);
	refuse_of(&desc_cfg_cpus, "features=avx", -EINVAL, NULL);
	refuse_of(&desc_cfg_cpus, "boot=4294967296", -EINVAL, NULL);
	refuse_of(&desc_cfg_cpus, "boot_vcpus=1", -EINVAL, NULL);
	refuse_of(&desc_cfg_cpus, "4", -EINVAL, NULL);
}

static void kv_memory(void **state)
{
	struct cfg_memory m;

	(void)state;
	assert_int_equal(kv_decode(&desc_cfg_memory, &m, "", NULL), 0);
	assert_true(m.size == UINT64_C(512) << 20);
	assert_int_equal(kv_decode(&desc_cfg_memory, &m, "size=5G,shared=on,file=/x,thp=on,hotplug_method=ACPI", NULL), 0);
	assert_true(m.size == UINT64_C(5) << 30);
	assert_true(m.shared);
	assert_int_equal(kv_decode(&desc_cfg_memory, &m, "size=0", NULL), 0);
	assert_true(m.size == 0);
	obj_fini(&desc_cfg_memory, &m);
	refuse_of(&desc_cfg_memory, "hugepages=on", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_memory, "hotplug_size=1G", -ERR_INVALID, "\"hotplug_size\" is not supported by this build");
	refuse_of(&desc_cfg_memory, "hotplug_method=virtio-mem", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_memory, "thp=off", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_memory, "prefault=on", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_memory, "size=12Q", -EINVAL, NULL);
}

static void serial_is(const char *text, enum console_mode mode, const char *file, const char *socket)
{
	struct cfg_serial s;
	struct err e;

	if (kv_decode(&desc_cfg_serial, &s, text, &e) != 0)
		fail_msg("%s: %s", text, err_text(&e, 0));
	assert_int_equal(s.mode, mode);
	assert_true((s.file == NULL) == (file == NULL));
	assert_true((s.socket == NULL) == (socket == NULL));
	if (file != NULL)
		assert_string_equal(s.file, file);
	if (socket != NULL)
		assert_string_equal(s.socket, socket);
	obj_fini(&desc_cfg_serial, &s);
}

static void kv_serial_modes_have_a_precedence(void **state)
{
	(void)state;
	serial_is("off", CONSOLE_MODE_OFF, NULL, NULL);
	serial_is("pty", CONSOLE_MODE_PTY, NULL, NULL);
	serial_is("tty", CONSOLE_MODE_TTY, NULL, NULL);
	serial_is("null", CONSOLE_MODE_NULL, NULL, NULL);
	serial_is("file=/a", CONSOLE_MODE_FILE, "/a", NULL);
	serial_is("socket=/a", CONSOLE_MODE_SOCKET, NULL, "/a");
	serial_is("tty,off", CONSOLE_MODE_OFF, NULL, NULL);
	serial_is("tty,pty", CONSOLE_MODE_PTY, NULL, NULL);
	serial_is("null,tty", CONSOLE_MODE_TTY, NULL, NULL);
	serial_is("file=/a,null", CONSOLE_MODE_NULL, NULL, NULL);
	serial_is("socket=/a,file=/b", CONSOLE_MODE_FILE, "/b", NULL);
	serial_is("off=whatever", CONSOLE_MODE_OFF, NULL, NULL);
	serial_is("tty=", CONSOLE_MODE_TTY, NULL, NULL);
	serial_is("file=\"/a,b\"", CONSOLE_MODE_FILE, "/a,b", NULL);
	serial_is("file=,off", CONSOLE_MODE_OFF, NULL, NULL);
}

static void kv_serial_errors(void **state)
{
	(void)state;
	refuse_of(&desc_cfg_serial, "", -EINVAL, "no mode given");
	refuse_of(&desc_cfg_serial, "file=", -EINVAL, "file: path missing");
	refuse_of(&desc_cfg_serial, "socket=", -EINVAL, "socket: path missing");
	refuse_of(&desc_cfg_serial, "file", -EINVAL, "file: value missing");
	refuse_of(&desc_cfg_serial, "mode=tty", -EINVAL, "unknown key \"mode\"");
	refuse_of(&desc_cfg_serial, "TTY", -EINVAL, NULL);
	refuse_of(&desc_cfg_serial, "Null", -EINVAL, NULL);
	refuse_of(&desc_cfg_serial, "tty,id=x", -EINVAL, NULL);
}

static void kv_debug_console_of_this_build_is_off_or_null(void **state)
{
	struct cfg_debug_console d;

	(void)state;
	assert_int_equal(kv_decode(&desc_cfg_debug_console, &d, "off", NULL), 0);
	assert_false(d.has_iobase);
	assert_int_equal(kv_decode(&desc_cfg_debug_console, &d, "off,iobase=0xe9", NULL), 0);
	assert_true(d.has_iobase);
	assert_int_equal(d.iobase, 0xe9);
	refuse_of(&desc_cfg_debug_console, "tty", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_debug_console, "off,iobase=0x402", -ERR_INVALID, NULL);
	refuse_of(&desc_cfg_debug_console, "off,iobase=402", -EINVAL, NULL);
	refuse_of(&desc_cfg_debug_console, "socket=/x", -EINVAL, "unknown key \"socket\"");
}

static void kv_help_tells_what_is_served(void **state)
{
	static const struct {
		const struct desc *d;
		const char *want;
	} helps[] = {
		{ &desc_cfg_cpus, "boot=<number> (1), max=<number> (boot), max_phys_bits=<number> (46), profile=Host" },
		{ &desc_cfg_memory, "size=<size> (512M), shared=on|off (off)" },
		{ &desc_cfg_serial, "off|pty|tty|file=<path>|socket=<path>|null" },
		{ &desc_cfg_console, "off|pty|tty|file=<path>|socket=<path>|null, id=<text>, pci_segment=<number> (0), "
				     "pci_device_id=<number>" },
		{ &desc_cfg_rng, "id=<text>, pci_segment=<number> (0), pci_device_id=<number>, src=<text> (/dev/urandom)" },
		{ &desc_cfg_rate_limit_group, "id=<text>, bw_size=<number>, bw_one_time_burst=<number>, "
					      "bw_refill_time=<number>, ops_size=<number>, ops_one_time_burst=<number>, "
					      "ops_refill_time=<number>" },
		{ &desc_cfg_debug_console, "off|null" },
	};

	(void)state;
	for (size_t i = 0; i < nitems(helps); i++) {
		struct wbuf w;

		wbuf_init(&w, 4096);
		assert_int_equal(kv_help(helps[i].d, &w), 0);
		assert_int_equal(wbuf_u8(&w, 0), 0);
		assert_string_equal((char *)w.p, helps[i].want);
		wbuf_fini(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kv_blank_text_gives_all_defaults),
		cmocka_unit_test(kv_pieces_are_split_at_commas_outside_quotes_and_brackets),
		cmocka_unit_test(kv_pieces_are_split_at_the_first_equals_sign),
		cmocka_unit_test(kv_syntax_errors_are_refused),
		cmocka_unit_test(kv_last_of_a_key_wins),
		cmocka_unit_test(kv_ignored_key_is_taken_and_dropped),
		cmocka_unit_test(kv_quotes_are_removed),
		cmocka_unit_test(kv_strings_have_a_length),
		cmocka_unit_test(kv_integers),
		cmocka_unit_test(kv_sizes),
		cmocka_unit_test(kv_toggles),
		cmocka_unit_test(kv_hex_needs_its_prefix),
		cmocka_unit_test(kv_enums),
		cmocka_unit_test(kv_integer_lists),
		cmocka_unit_test(kv_string_lists_keep_quotes_and_blanks),
		cmocka_unit_test(kv_tuples),
		cmocka_unit_test(kv_names_and_colons),
		cmocka_unit_test(kv_required_keys_are_named),
		cmocka_unit_test(kv_cpus),
		cmocka_unit_test(kv_memory),
		cmocka_unit_test(kv_serial_modes_have_a_precedence),
		cmocka_unit_test(kv_serial_errors),
		cmocka_unit_test(kv_debug_console_of_this_build_is_off_or_null),
		cmocka_unit_test(kv_help_tells_what_is_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
