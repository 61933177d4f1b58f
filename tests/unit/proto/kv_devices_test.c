/* SPDX-License-Identifier: ISC */
/* --disk, --net, --rng, --console, --rate-limit-group: every key, its default, what it refuses. */
#include "proto/codec_kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/config.h"

static void take(const struct desc *d, void *obj, const char *text)
{
	struct err e = { 0 };

	if (kv_decode(d, obj, text, &e) != 0)
		fail_msg("%s: %s", text, err_text(&e, 0));
}

static void refuse(const struct desc *d, const char *text, int code, const char *want)
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
}

static void disk_without_keys_is_the_default_disk(void **state)
{
	struct cfg_disk d, want;

	(void)state;
	take(&desc_cfg_disk, &d, "");
	obj_init(&desc_cfg_disk, &want);
	assert_true(obj_equal(&desc_cfg_disk, &d, &want));
	assert_int_equal(d.num_queues, 1);
	assert_int_equal(d.queue_size, 128);
	assert_true(d.sparse);
	assert_int_equal(d.image_type, IMAGE_TYPE_UNKNOWN);
	assert_int_equal(d.lock_granularity, LOCK_GRANULARITY_BYTE_RANGE);
	assert_false(d.has_rate_limiter_config);
}

static void disk_takes_every_key(void **state)
{
	struct cfg_disk d;

	(void)state;
	take(&desc_cfg_disk, &d,
	     "path=\"/a,b\",readonly=on,direct=true,num_queues=4,queue_size=256,vhost_user=on,socket=/s,rate_limit_group=g,"
	     "queue_affinity=[0@[1,3-5],1@2],serial=S,backing_files=on,sparse=off,image_type=QCOW2,lock_granularity=full,"
	     "_disable_io_uring=on,_disable_aio=on,id=d,iommu=off,pci_segment=1,pci_device_id=7");
	assert_string_equal(d.path, "/a,b");
	assert_true(d.readonly && d.direct && d.vhost_user && d.backing_files && d.disable_io_uring && d.disable_aio);
	assert_false(d.sparse || d.iommu);
	assert_int_equal(d.num_queues, 4);
	assert_int_equal(d.queue_size, 256);
	assert_string_equal(d.vhost_socket, "/s");
	assert_string_equal(d.rate_limit_group, "g");
	assert_int_equal(d.n_queue_affinity, 2);
	assert_int_equal(d.queue_affinity[0].n_host_cpus, 4);
	assert_int_equal(d.queue_affinity[0].host_cpus[3], 5);
	assert_int_equal(d.queue_affinity[1].queue_index, 1);
	assert_int_equal(d.queue_affinity[1].host_cpus[0], 2);
	assert_string_equal(d.serial, "S");
	assert_int_equal(d.image_type, IMAGE_TYPE_QCOW2);
	assert_int_equal(d.lock_granularity, LOCK_GRANULARITY_FULL);
	assert_string_equal(d.id, "d");
	assert_int_equal(d.pci_segment, 1);
	assert_true(d.has_pci_device_id);
	assert_int_equal(d.pci_device_id, 7);
	obj_fini(&desc_cfg_disk, &d);
}

static void disk_image_types(void **state)
{
	static const struct {
		const char *text;
		enum image_type type;
	} types[] = {
		{ "image_type=raw", IMAGE_TYPE_RAW },	    { "image_type=Qcow2", IMAGE_TYPE_QCOW2 },
		{ "image_type=vhd", IMAGE_TYPE_FIXED_VHD }, { "image_type=vhdx", IMAGE_TYPE_VHDX },
		{ "image_type=vmdk", IMAGE_TYPE_FLAT_VMDK }, { "image_type=", IMAGE_TYPE_UNKNOWN },
	};

	(void)state;
	for (size_t i = 0; i < nitems(types); i++) {
		struct cfg_disk d;

		take(&desc_cfg_disk, &d, types[i].text);
		assert_int_equal(d.image_type, types[i].type);
	}
	refuse(&desc_cfg_disk, "image_type=unknown", -EINVAL, "image_type: \"unknown\" is not valid");
}

static void disk_refusals(void **state)
{
	static const char *const bad[] = {
		"/dev/sda",	      "path",		     "path=/a,",	  "queue_size=65536",	    "queue_size=1K",
		"num_queues=-1",      "readonly=yes",	     "readonly",	  "queue_affinity=[]",	    "queue_affinity=0@1",
		"queue_affinity=[0]", "queue_affinity=[65536@1]", "queue_affinity=[0@[]]", "lock_granularity=FULL",
		"vhost_socket=/s",    "disable_io_uring=on", "image_detected=on", "rate_limiter_config=1", "bw=1",
		"pci_device_id=256",  "pci_segment=65536",   "bw_size",		  "tap=t0",
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(&desc_cfg_disk, bad[i], -EINVAL, NULL);
	refuse(&desc_cfg_disk, "iommu=on", -ERR_INVALID, "\"iommu\" is not supported by this build");
	refuse(&desc_cfg_disk, "bw_size", -EINVAL, "bw_size: value missing");
}

static void limits_need_size_and_refill_time(void **state)
{
	static const char *const none[] = { "bw_size=1",	      "bw_refill_time=1", "bw_size=0,bw_refill_time=1", "ops_size=1",
					    "bw_size=1,bw_refill_time=0", "bw_one_time_burst=5", "ops_size=1,bw_refill_time=1",
					    "bw_size=,bw_refill_time=" };
	struct cfg_disk d;

	(void)state;
	for (size_t i = 0; i < nitems(none); i++) {
		take(&desc_cfg_disk, &d, none[i]);
		assert_false(d.has_rate_limiter_config);
		assert_false(d.rate_limiter_config.has_bandwidth || d.rate_limiter_config.has_ops);
	}
	take(&desc_cfg_disk, &d, "bw_size=1048576,bw_refill_time=100");
	assert_true(d.has_rate_limiter_config && d.rate_limiter_config.has_bandwidth && !d.rate_limiter_config.has_ops);
	assert_int_equal(d.rate_limiter_config.bandwidth.size, 1048576);
	assert_int_equal(d.rate_limiter_config.bandwidth.refill_time, 100);
	assert_true(d.rate_limiter_config.bandwidth.has_one_time_burst);
	assert_int_equal(d.rate_limiter_config.bandwidth.one_time_burst, 0);
	take(&desc_cfg_disk, &d, "ops_refill_time=1,ops_one_time_burst=3,ops_size=18446744073709551615,bw_size=7");
	assert_true(!d.rate_limiter_config.has_bandwidth && d.rate_limiter_config.has_ops);
	assert_true(d.rate_limiter_config.ops.size == UINT64_MAX);
	assert_int_equal(d.rate_limiter_config.ops.one_time_burst, 3);
	assert_int_equal(d.rate_limiter_config.bandwidth.size, 0); /* nothing is left of it */
	take(&desc_cfg_disk, &d, "ops_size=1,ops_size=\"2\",ops_refill_time=+3"); /* the last one wins */
	assert_int_equal(d.rate_limiter_config.ops.size, 2);
}

static void limits_that_are_no_numbers(void **state)
{
	static const char *const bad[] = { "bw_size=1K", "bw_size=-1", "bw_size=x", "ops_size=1.5", "ops_refill_time=18446744073709551616",
					   "bw_one_time_burst=0x1" };

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++) {
		refuse(&desc_cfg_disk, bad[i], -EINVAL, NULL);
		refuse(&desc_cfg_net, bad[i], -EINVAL, NULL);
		refuse(&desc_cfg_rate_limit_group, bad[i], -EINVAL, NULL);
	}
	refuse(&desc_cfg_disk, "bw_size=1K", -EINVAL, "bw_size: \"1K\" is not valid");
	refuse(&desc_cfg_disk, "ops_size=18446744073709551616", -EINVAL,
	       "ops_size: \"18446744073709551616\" is out of range");
	refuse(&desc_cfg_rng, "bw_size=1", -EINVAL, "unknown key \"bw_size\"");
}

static void net_without_keys_is_the_default_net(void **state)
{
	struct cfg_net n, want;

	(void)state;
	take(&desc_cfg_net, &n, "");
	obj_init(&desc_cfg_net, &want);
	assert_true(obj_equal(&desc_cfg_net, &n, &want));
	assert_int_equal(n.num_queues, 2);
	assert_int_equal(n.queue_size, 256);
	assert_true(n.offload_tso && n.offload_ufo && n.offload_csum);
}

static void net_takes_every_key(void **state)
{
	struct cfg_net n;

	(void)state;
	take(&desc_cfg_net, &n,
	     "tap=ich0,ip=10.0.0.1,mask=255.255.255.0,mac=2E:00:00:00:00:01,host_mac=2e:00:00:00:00:02,mtu=1500,num_queues=4,"
	     "queue_size=512,vhost_user=on,socket=/s,vhost_mode=SERVER,fd=[5,6],bw_size=1,bw_refill_time=2,offload_tso=off,"
	     "offload_ufo=off,offload_csum=off,id=n,iommu=off,pci_segment=0,pci_device_id=3");
	assert_string_equal(n.tap, "ich0");
	assert_string_equal(n.ip, "10.0.0.1");
	assert_string_equal(n.mask, "255.255.255.0");
	assert_string_equal(n.mac, "2e:00:00:00:00:01");
	assert_string_equal(n.host_mac, "2e:00:00:00:00:02");
	assert_true(n.has_mtu);
	assert_int_equal(n.mtu, 1500);
	assert_int_equal(n.num_queues, 4);
	assert_int_equal(n.queue_size, 512);
	assert_true(n.vhost_user);
	assert_string_equal(n.vhost_socket, "/s");
	assert_int_equal(n.vhost_mode, VHOST_MODE_SERVER);
	assert_int_equal(n.n_fds, 2);
	assert_int_equal(n.fds[0], 5);
	assert_int_equal(n.fds[1], 6);
	assert_true(n.has_rate_limiter_config);
	assert_false(n.offload_tso || n.offload_ufo || n.offload_csum);
	obj_fini(&desc_cfg_net, &n);
	take(&desc_cfg_net, &n, "fd=3"); /* brackets may be left out */
	assert_true(n.has_fds);
	assert_int_equal(n.n_fds, 1);
	obj_fini(&desc_cfg_net, &n);
}

static void net_refusals(void **state)
{
	static const char *const bad[] = {
		"mac=x", "mac=2e:00:00:00:00", "host_mac=\"\"", "ip=1.2.3", "mask=/24", "mtu=65536", "fd=[]", "fd=-1", "fd=2147483648",
		"fd=x", "fds=[3]", "vhost_mode=x", "path=/a", "ich0", "ip=localhost",
	};

	(void)state;
	for (size_t i = 0; i < nitems(bad); i++)
		refuse(&desc_cfg_net, bad[i], -EINVAL, NULL);
	refuse(&desc_cfg_net, "mac=x", -EINVAL, "mac: \"x\" is not valid");
	refuse(&desc_cfg_net, "tap=t,iommu=on", -ERR_INVALID, "\"iommu\" is not supported by this build");
}

static void group_has_an_id_and_limits(void **state)
{
	struct cfg_rate_limit_group g;

	(void)state;
	take(&desc_cfg_rate_limit_group, &g, "");
	assert_null(g.id);
	take(&desc_cfg_rate_limit_group, &g, "id=g,ops_size=1000,ops_refill_time=100,ops_one_time_burst=5");
	assert_string_equal(g.id, "g");
	assert_true(g.rate_limiter_config.has_ops);
	assert_false(g.rate_limiter_config.has_bandwidth);
	assert_int_equal(g.rate_limiter_config.ops.one_time_burst, 5);
	obj_fini(&desc_cfg_rate_limit_group, &g);
	refuse(&desc_cfg_rate_limit_group, "id=g,path=/a", -EINVAL, NULL);
}

static void rng_has_a_source(void **state)
{
	struct cfg_rng r;

	(void)state;
	take(&desc_cfg_rng, &r, "");
	assert_null(r.src);
	take(&desc_cfg_rng, &r, "src=/dev/hwrng,id=r,pci_device_id=4");
	assert_string_equal(r.src, "/dev/hwrng");
	assert_string_equal(r.id, "r");
	assert_int_equal(r.pci_device_id, 4);
	obj_fini(&desc_cfg_rng, &r);
	refuse(&desc_cfg_rng, "src", -EINVAL, NULL);
	refuse(&desc_cfg_rng, "source=/x", -EINVAL, NULL);
	refuse(&desc_cfg_rng, "iommu=true", -ERR_INVALID, NULL);
}

static void console_has_modes_and_a_place(void **state)
{
	static const struct {
		const char *text;
		enum console_mode mode;
	} modes[] = {
		{ "off", CONSOLE_MODE_OFF },	    { "tty", CONSOLE_MODE_TTY },       { "pty,id=c", CONSOLE_MODE_PTY },
		{ "null", CONSOLE_MODE_NULL },	    { "file=/f", CONSOLE_MODE_FILE },  { "socket=/s", CONSOLE_MODE_SOCKET },
		{ "tty,off", CONSOLE_MODE_OFF },    { "id=c,tty", CONSOLE_MODE_TTY },  { "file=/f,null", CONSOLE_MODE_NULL },
		{ "pty,iommu=off,pci_segment=0,pci_device_id=31", CONSOLE_MODE_PTY },
	};

	(void)state;
	for (size_t i = 0; i < nitems(modes); i++) {
		struct cfg_console c;

		take(&desc_cfg_console, &c, modes[i].text);
		assert_int_equal(c.mode, modes[i].mode);
		assert_int_equal(c.file != NULL, c.mode == CONSOLE_MODE_FILE);
		obj_fini(&desc_cfg_console, &c);
	}
	refuse(&desc_cfg_console, "", -EINVAL, "no mode given");
	refuse(&desc_cfg_console, "id=c", -EINVAL, "no mode given");
	refuse(&desc_cfg_console, "file=", -EINVAL, "file: path missing");
	refuse(&desc_cfg_console, "tty,iommu=on", -ERR_INVALID, "\"iommu\" is not supported by this build");
	refuse(&desc_cfg_console, "tty,pci_device_id=256", -EINVAL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(disk_without_keys_is_the_default_disk),
		cmocka_unit_test(disk_takes_every_key),
		cmocka_unit_test(disk_image_types),
		cmocka_unit_test(disk_refusals),
		cmocka_unit_test(limits_need_size_and_refill_time),
		cmocka_unit_test(limits_that_are_no_numbers),
		cmocka_unit_test(net_without_keys_is_the_default_net),
		cmocka_unit_test(net_takes_every_key),
		cmocka_unit_test(net_refusals),
		cmocka_unit_test(group_has_an_id_and_limits),
		cmocka_unit_test(rng_has_a_source),
		cmocka_unit_test(console_has_modes_and_a_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
