/* test_safe_write.c: files replaced whole or not at all. */
#include "engine/safe_write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static const char *in(const char *name)
{
	static char path[4][512];
	static int turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[turn]), "%s/%s", folder, name);
	return path[turn];
}

static int setup(void **unused)
{
	(void)unused;
	strcpy(folder, "safe_write.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int files(void)
{
	DIR *d = opendir(folder);
	int n = 0;

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(d);
	return n;
}

static int teardown(void **unused)
{
	DIR *d = opendir(folder);

	(void)unused;
	if (!d) return -1;
	for (struct dirent *e; (e = readdir(d));) unlinkat(dirfd(d), e->d_name, 0);
	rewinddir(d);
	for (struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	closedir(d);
	return rmdir(folder);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void expect(const char *path, const char *text)
{
	char buf[512];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, sizeof(buf) - 1, f);
	buf[n] = '\0';
	fclose(f);
	assert_string_equal(buf, text);
}

static void expect_error(weir__write_error e, weir__write_step step, int number)
{
	if (e.step != step || e.number != number)
		fail_msg("%s: %s; expected %s: %s", weir__write_step_text(e.step), strerror(e.number),
			 weir__write_step_text(step), strerror(number));
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) != -1;
	return n;
}

static unsigned mode_of(const char *path)
{
	struct stat s;

	assert_int_equal(stat(path, &s), 0);
	return (unsigned)s.st_mode & 07777;
}

static void test_new_file(void **unused)
{
	mode_t old = umask(027);

	(void)unused;
	expect_error(weir__safe_write_file(in("new"), "hello", 5), WEIR__STEP_NONE, 0);
	umask(old);
	expect(in("new"), "hello");
	assert_int_equal(mode_of(in("new")), 0640);
	assert_int_equal(files(), 1);
	expect_error(weir__safe_write_file(in("empty"), NULL, 0), WEIR__STEP_NONE, 0);
	expect(in("empty"), "");
}

static void test_replaces_and_keeps_the_mode(void **unused)
{
	(void)unused;
	put(in("a"), "old");
	chmod(in("a"), 0604);
	expect_error(weir__safe_write_file(in("a"), "new!", 4), WEIR__STEP_NONE, 0);
	expect(in("a"), "new!");
	assert_int_equal(mode_of(in("a")), 0604);
	assert_int_equal(files(), 1);
}

/* Who has the old file open goes on reading the old contents. */
static void test_readers_keep_the_old_file(void **unused)
{
	char buf[8] = "";
	int fd;

	(void)unused;
	put(in("a"), "old");
	fd = open(in("a"), O_RDONLY);
	expect_error(weir__safe_write_file(in("a"), "new", 3), WEIR__STEP_NONE, 0);
	assert_int_equal(read(fd, buf, 7), 3);
	close(fd);
	assert_string_equal(buf, "old");
	expect(in("a"), "new");
}

static void test_pieces_and_large(void **unused)
{
	enum { N = 3000000 };
	weir__safe_file f;
	struct stat s;
	char *data = malloc(N), *back = malloc(N);
	FILE *file;

	(void)unused;
	assert_non_null(data);
	assert_non_null(back);
	for (size_t i = 0; i < N; i++) data[i] = (char)(i * i >> 7);
	assert_true(weir__safe_open(&f, in("large")));
	assert_int_not_equal(stat(in("large"), &s), 0); /* not there before the end */
	assert_int_equal(files(), 1);
	assert_true(weir__safe_write(&f, data, 1));
	assert_true(weir__safe_write(&f, data + 1, 0));
	assert_true(weir__safe_write(&f, data + 1, N - 1));
	assert_true(weir__safe_commit(&f));
	file = fopen(in("large"), "r");
	assert_non_null(file);
	assert_int_equal(fread(back, 1, N, file), N);
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	assert_memory_equal(data, back, N);
	free(data);
	free(back);
}

static void test_abandon(void **unused)
{
	weir__safe_file f;

	(void)unused;
	put(in("a"), "old");
	assert_true(weir__safe_open(&f, in("a")));
	assert_true(weir__safe_write(&f, "new", 3));
	assert_int_equal(files(), 2);
	weir__safe_abandon(&f);
	expect(in("a"), "old");
	assert_int_equal(files(), 1);
	assert_false(weir__safe_write(&f, "x", 1)); /* after the end */
	assert_false(weir__safe_commit(&f));
	assert_int_equal(files(), 1);
}

static void test_temporary_name(void **unused)
{
	weir__safe_file f;
	char name[64], longest[WEIR__NAME_MAX + 2];

	(void)unused;
	snprintf(name, sizeof(name), "a.tmp.%ld", (long)getpid());
	put(in(name), "left by another run");
	assert_true(weir__safe_open(&f, in("a")));
	assert_true(weir__safe_commit(&f));
	expect(in("a"), "");
	expect(in(name), "left by another run");
	memset(longest, 'n', sizeof(longest));
	longest[WEIR__NAME_MAX] = '\0';
	expect_error(weir__safe_write_file(in(longest), "x", 1), WEIR__STEP_NONE, 0);
	expect(in(longest), "x");
	longest[WEIR__NAME_MAX] = 'n';
	longest[WEIR__NAME_MAX + 1] = '\0';
	expect_error(weir__safe_write_file(in(longest), "x", 1), WEIR__STEP_FIND, ENAMETOOLONG);
}

static void test_bad_targets(void **unused)
{
	(void)unused;
	mkdir(in("folder"), 0777);
	put(in("file"), "old");
	assert_int_equal(symlink("nowhere", in("dangling")), 0);
	expect_error(weir__safe_write_file(in("folder"), "x", 1), WEIR__STEP_FIND, EISDIR);
	expect_error(weir__safe_write_file(in("folder/"), "x", 1), WEIR__STEP_FIND, EISDIR);
	expect_error(weir__safe_write_file(in("new/"), "x", 1), WEIR__STEP_FIND, EISDIR);
	expect_error(weir__safe_write_file("..", "x", 1), WEIR__STEP_FIND, EISDIR);
	expect_error(weir__safe_write_file("", "x", 1), WEIR__STEP_FIND, ENOENT);
	expect_error(weir__safe_write_file(in("missing/new"), "x", 1), WEIR__STEP_FOLDER, ENOENT);
	expect_error(weir__safe_write_file(in("file/new"), "x", 1), WEIR__STEP_FIND, ENOTDIR);
	expect_error(weir__safe_write_file(in("dangling"), "x", 1), WEIR__STEP_FIND, ENOENT);
	assert_int_equal(files(), 3);
	expect(in("file"), "old");
}

static void test_link_stays(void **unused)
{
	struct stat s;

	(void)unused;
	put(in("real"), "old");
	assert_int_equal(symlink("real", in("link")), 0);
	expect_error(weir__safe_write_file(in("link"), "new", 3), WEIR__STEP_NONE, 0);
	assert_int_equal(lstat(in("link"), &s), 0);
	assert_true(S_ISLNK(s.st_mode));
	expect(in("real"), "new");
	assert_int_equal(files(), 2);
}

static void test_not_permitted(void **unused)
{
	(void)unused;
	put(in("readonly"), "old");
	chmod(in("readonly"), 0444);
	if (access(in("readonly"), W_OK) == 0) skip(); /* root may do anything */
	expect_error(weir__safe_write_file(in("readonly"), "x", 1), WEIR__STEP_FIND, EACCES);
	expect(in("readonly"), "old");
	put(in("old"), "old");
	chmod(folder, 0555);
	expect_error(weir__safe_write_file(in("old"), "x", 1), WEIR__STEP_OPEN, EACCES);
	expect_error(weir__safe_write_file(in("new"), "x", 1), WEIR__STEP_OPEN, EACCES);
	chmod(folder, 0777);
	expect(in("old"), "old");
	assert_int_equal(files(), 2);
}

/* A folder where nobody may create a file, root neither. */
static void test_no_folder_to_write_in(void **unused)
{
	weir__write_error e = weir__safe_write_file("/proc/self/weir", "x", 1);

	(void)unused;
	if (access("/proc/self", F_OK) != 0) skip();
	assert_true(e.step == WEIR__STEP_OPEN && (e.number == ENOENT || e.number == EACCES || e.number == EPERM));
}

/* The disk fills up half way: a limit on the size of files acts like it, with EFBIG for ENOSPC. */
static void test_full_in_the_middle(void **unused)
{
	static char data[100000];
	struct rlimit old, small;
	weir__write_error e;

	(void)unused;
	put(in("a"), "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 50000;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	e = weir__safe_write_file(in("a"), data, sizeof(data));
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);
	expect_error(e, WEIR__STEP_WRITE, EFBIG);
	expect(in("a"), "old");
	assert_int_equal(files(), 1);
}

static void test_devices_are_written_directly(void **unused)
{
	struct stat s;

	(void)unused;
	expect_error(weir__safe_write_file("/dev/null", "x", 1), WEIR__STEP_NONE, 0);
	assert_int_equal(stat("/dev/null", &s), 0);
	assert_true(S_ISCHR(s.st_mode));
	if (access("/dev/full", F_OK) == 0)
		expect_error(weir__safe_write_file("/dev/full", "x", 1), WEIR__STEP_WRITE, ENOSPC);
}

/* The target becomes a folder between open and commit: the last step that can be made to fail from outside. */
static void test_rename_fails(void **unused)
{
	weir__safe_file f;

	(void)unused;
	assert_true(weir__safe_open(&f, in("a")));
	assert_true(weir__safe_write(&f, "x", 1));
	mkdir(in("a"), 0777);
	assert_false(weir__safe_commit(&f));
	expect_error(f.error, WEIR__STEP_RENAME, EISDIR);
	assert_int_equal(files(), 1);
}

static void test_no_descriptor_leaks(void **unused)
{
	int before = open_descriptors();
	weir__safe_file f;

	(void)unused;
	mkdir(in("folder"), 0777);
	for (int i = 0; i < 3; i++) {
		weir__safe_write_file(in("a"), "x", 1);
		weir__safe_write_file(in("folder"), "x", 1);
		weir__safe_write_file(in("missing/a"), "x", 1);
		weir__safe_write_file("/dev/full", "x", 1);
		weir__safe_write_file("/proc/self/weir", "x", 1);
		if (weir__safe_open(&f, in("b"))) weir__safe_abandon(&f);
	}
	assert_int_equal(open_descriptors(), before);
}

static void test_no_descriptors_left(void **unused)
{
	struct rlimit old, small;
	weir__write_error e;

	(void)unused;
	put(in("a"), "old");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	small = old;
	small.rlim_cur = (rlim_t)dup(0) + 1; /* room for the folder, none for the file */
	close((int)small.rlim_cur - 1);
	setrlimit(RLIMIT_NOFILE, &small);
	e = weir__safe_write_file(in("a"), "x", 1);
	setrlimit(RLIMIT_NOFILE, &old);
	expect_error(e, WEIR__STEP_OPEN, EMFILE);
	expect(in("a"), "old");
	assert_int_equal(files(), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_new_file),
		TEST(test_replaces_and_keeps_the_mode),
		TEST(test_readers_keep_the_old_file),
		TEST(test_pieces_and_large),
		TEST(test_abandon),
		TEST(test_temporary_name),
		TEST(test_bad_targets),
		TEST(test_link_stays),
		TEST(test_not_permitted),
		TEST(test_no_folder_to_write_in),
		TEST(test_full_in_the_middle),
		TEST(test_devices_are_written_directly),
		TEST(test_rename_fails),
		TEST(test_no_descriptor_leaks),
		TEST(test_no_descriptors_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
