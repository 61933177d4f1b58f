/* SPDX-License-Identifier: ISC */
#include "jail/api_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/jail/tmpdir.h"

static bool exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static bool can_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	bool ok = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	(void)close(fd);
	return ok;
}

static void path_is_served_for_the_owner_only(void **state)
{
	struct api_socket s;
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(api_socket_open(&s, "path=api", &e), 0);
	assert_true(can_connect("api"));
	assert_int_equal(lstat("api", &st), 0);
	assert_int_equal(st.st_mode & 0077, 0);
	assert_true(exists("api.lock"));
	api_socket_close(&s, true);
	assert_false(exists("api"));
	assert_true(exists("api.lock"));
}

static void failed_run_leaves_the_socket_file(void **state)
{
	struct api_socket s;
	struct err e;

	(void)state;
	assert_int_equal(api_socket_open(&s, "api", &e), 0);
	api_socket_close(&s, false);
	assert_true(exists("api"));
	assert_false(can_connect("api"));
}

static void stale_socket_is_replaced(void **state)
{
	struct api_socket s;
	struct err e;

	(void)state;
	(void)close(listen_at("api"));
	assert_true(exists("api"));
	assert_int_equal(api_socket_open(&s, "api", &e), 0);
	assert_true(can_connect("api"));
	api_socket_close(&s, true);
}

static void path_in_use_is_refused_and_left_alone(void **state)
{
	struct api_socket first, second;
	struct err e;

	(void)state;
	assert_int_equal(api_socket_open(&first, "api", &e), 0);
	err_clear(&e);
	assert_int_equal(api_socket_open(&second, "api", &e), -EADDRINUSE);
	assert_non_null(strstr(err_text(&e, 1), "another instance"));
	assert_true(can_connect("api"));
	api_socket_close(&first, true);
	assert_int_equal(api_socket_open(&second, "api", &e), 0);
	api_socket_close(&second, true);
}

static void other_file_is_never_removed(void **state)
{
	struct api_socket s;
	struct err e;
	int fd = open("api", O_WRONLY | O_CREAT, 0600);

	(void)state;
	assert_true(fd >= 0);
	(void)close(fd);
	err_clear(&e);
	assert_int_equal(api_socket_open(&s, "api", &e), -EEXIST);
	assert_true(exists("api"));
}

static void empty_and_overlong_paths_are_errors(void **state)
{
	struct api_socket s;
	char path[300];
	struct err e;

	(void)state;
	err_clear(&e);
	assert_true(api_socket_open(&s, "", &e) < 0);
	memset(path, 'a', sizeof(path));
	path[200] = '\0';
	err_clear(&e);
	assert_int_equal(api_socket_open(&s, path, &e), -ENAMETOOLONG);
	assert_true(err_count(&e) > 0);
}

static void inherited_descriptor_is_used_and_not_unlinked(void **state)
{
	struct api_socket s;
	char arg[32];
	struct err e;
	int fd = listen_at("given");

	(void)state;
	(void)snprintf(arg, sizeof(arg), "fd=%d", fd);
	assert_int_equal(api_socket_open(&s, arg, &e), 0);
	assert_true(s.listen_fd != fd);
	assert_false(exists("given.lock"));
	api_socket_close(&s, true);
	assert_true(exists("given"));
	(void)close(fd);
}

static void descriptors_of_other_kinds_are_refused(void **state)
{
	int fds[] = { 999, open("/dev/null", O_RDONLY), socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_DGRAM, 0) };
	struct api_socket s;
	char arg[32];
	struct err e;

	(void)state;
	for (size_t i = 0; i < nitems(fds); i++) {
		(void)snprintf(arg, sizeof(arg), "fd=%d", fds[i]);
		err_clear(&e);
		assert_true(api_socket_open(&s, arg, &e) < 0);
		assert_true(err_count(&e) > 1);
		assert_int_equal(s.listen_fd, -1);
	}
	for (size_t i = 1; i < nitems(fds); i++)
		(void)close(fds[i]);
}

#define IN_DIR(f) cmocka_unit_test_setup_teardown(f, tmpdir_setup, tmpdir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_DIR(path_is_served_for_the_owner_only),
		IN_DIR(failed_run_leaves_the_socket_file),
		IN_DIR(stale_socket_is_replaced),
		IN_DIR(path_in_use_is_refused_and_left_alone),
		IN_DIR(other_file_is_never_removed),
		IN_DIR(empty_and_overlong_paths_are_errors),
		IN_DIR(inherited_descriptor_is_used_and_not_unlinked),
		IN_DIR(descriptors_of_other_kinds_are_refused),
	};

	(void)umask(077);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
