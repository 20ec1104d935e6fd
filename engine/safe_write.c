/* safe_write.c: see safe_write.h. All names are relative to one open folder, so that a folder renamed meanwhile changes
 * nothing. An fsync that failed is never tried again: the kernel may have dropped the pages and then say all is well. */
#include "engine/safe_write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif
#ifndef O_DIRECTORY
#define O_DIRECTORY 0
#endif

enum { LARGEST_WRITE = 1 << 30, TRIES = 100 };

static bool fail(weir__safe_file *f, weir__write_step step, int number)
{
	if (!f->error.step) f->error = (weir__write_error){ step, number };
	return false;
}

/* Splits path into folder and name; both are copied. */
static bool split(weir__safe_file *f, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t folder = slash ? (size_t)(slash - path) : 0;

	if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
		return fail(f, WEIR__STEP_FIND, *path ? EISDIR : ENOENT);
	if (strlen(name) > WEIR__NAME_MAX || folder >= WEIR__PATH_MAX) return fail(f, WEIR__STEP_FIND, ENAMETOOLONG);
	memcpy(f->name, name, strlen(name) + 1);
	memcpy(f->path, path, folder);
	f->path[folder] = '\0';
	if (folder == 0) memcpy(f->path, slash ? "/" : ".", 2);
	return true;
}

/* Looks at the target: whether it exists, what it is, where it stands. */
static bool find(weir__safe_file *f, const char *path)
{
	struct stat target, link;
	char real[PATH_MAX];

	if (stat(path, &target) == 0) {
		f->existed = true;
		f->mode = (unsigned)target.st_mode & 0777;
		f->owner = (unsigned)target.st_uid;
		f->group = (unsigned)target.st_gid;
		if (S_ISDIR(target.st_mode)) return fail(f, WEIR__STEP_FIND, EISDIR);
		if (!S_ISREG(target.st_mode)) {
			f->direct = true;
			return true;
		}
		/* A rename would replace a file that its owner has made read-only. */
		if (access(path, W_OK) != 0) return fail(f, WEIR__STEP_FIND, errno);
	} else if (errno != ENOENT) {
		return fail(f, WEIR__STEP_FIND, errno);
	}
	if (lstat(path, &link) != 0 || !S_ISLNK(link.st_mode)) return split(f, path);
	if (!f->existed) return fail(f, WEIR__STEP_FIND, ENOENT); /* a link to nowhere */
	return realpath(path, real) ? split(f, real) : fail(f, WEIR__STEP_FIND, errno);
}

/* Creates NAME.tmp.PID; where that is left from another time, NAME.tmp.PID.1 and so on. */
static bool create(weir__safe_file *f)
{
	for (int i = 0; i < TRIES && f->fd < 0; i++) {
		char tail[64];
		size_t keep = strlen(f->name), room;

		snprintf(tail, sizeof(tail), i ? ".tmp.%ld.%d" : ".tmp.%ld", (long)getpid(), i);
		room = WEIR__NAME_MAX - strlen(tail);
		if (keep > room) keep = room;
		memcpy(f->temporary, f->name, keep);
		memcpy(f->temporary + keep, tail, strlen(tail) + 1);
		do
			f->fd = openat(f->folder, f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
				       f->existed ? 0600 : 0666);
		while (f->fd < 0 && errno == EINTR);
		if (f->fd < 0 && errno != EEXIST) break;
	}
	if (f->fd >= 0) return true;
	f->temporary[0] = '\0';
	return fail(f, WEIR__STEP_OPEN, errno);
}

bool weir__safe_open(weir__safe_file *f, const char *path)
{
	memset(f, 0, sizeof(*f));
	f->fd = f->folder = -1;
	if (!find(f, path)) return false;
	if (f->direct) {
		do f->fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
		while (f->fd < 0 && errno == EINTR);
		return f->fd >= 0 || fail(f, WEIR__STEP_OPEN, errno);
	}
	do f->folder = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (f->folder < 0 && errno == EINTR);
	if (f->folder < 0) return fail(f, WEIR__STEP_FOLDER, errno);
	if (create(f)) return true;
	weir__safe_abandon(f);
	return false;
}

bool weir__safe_write(weir__safe_file *f, const void *data, size_t n)
{
	const char *at = data;

	if (f->error.step) return false;
	if (f->fd < 0) return fail(f, WEIR__STEP_WRITE, EBADF);
	while (n) {
		ssize_t done = write(f->fd, at, n < LARGEST_WRITE ? n : LARGEST_WRITE);

		if (done < 0 && errno == EINTR) continue;
		if (done <= 0) return fail(f, WEIR__STEP_WRITE, done < 0 ? errno : EIO);
		at += done;
		n -= (size_t)done;
	}
	return true;
}

static int sync_fd(int fd)
{
	int result;

	do result = fsync(fd);
	while (result != 0 && errno == EINTR);
	return result;
}

/* Mode and owner of the old file. Another's file, written by one who may: the owner can't always be kept. */
static bool dress(weir__safe_file *f)
{
	struct stat now;

	if (!f->existed) return true;
	if (fstat(f->fd, &now) != 0) return fail(f, WEIR__STEP_MODE, errno);
	if (now.st_uid != f->owner || now.st_gid != f->group) {
		if (fchown(f->fd, (uid_t)f->owner, (gid_t)f->group) != 0 &&
		    fchown(f->fd, (uid_t)-1, (gid_t)f->group) != 0)
			f->mode &= 0707u; /* the rights of the old group are not for the new one */
	}
	return fchmod(f->fd, (mode_t)f->mode) == 0 || fail(f, WEIR__STEP_MODE, errno);
}

static bool close_file(weir__safe_file *f)
{
	int result = close(f->fd); /* not again after EINTR: the descriptor is gone */

	f->fd = -1;
	return result == 0 || errno == EINTR || fail(f, WEIR__STEP_CLOSE, errno);
}

bool weir__safe_commit(weir__safe_file *f)
{
	if (!f->error.step && f->fd < 0) fail(f, WEIR__STEP_WRITE, EBADF);
	if (!f->error.step && f->direct) close_file(f);
	if (f->error.step || f->direct) {
		weir__safe_abandon(f);
		return !f->error.step;
	}
	if (dress(f) && sync_fd(f->fd) != 0) fail(f, WEIR__STEP_SYNC, errno);
	if (!f->error.step && close_file(f)) {
		if (renameat(f->folder, f->temporary, f->folder, f->name) != 0) {
			fail(f, WEIR__STEP_RENAME, errno);
		} else {
			f->temporary[0] = '\0';
			if (sync_fd(f->folder) != 0 && errno != EINVAL) /* some file systems can't */
				fail(f, WEIR__STEP_SYNC_FOLDER, errno);
		}
	}
	weir__safe_abandon(f);
	return !f->error.step;
}

void weir__safe_abandon(weir__safe_file *f)
{
	if (f->fd >= 0) close(f->fd);
	if (f->folder >= 0 && f->temporary[0]) unlinkat(f->folder, f->temporary, 0);
	if (f->folder >= 0) close(f->folder);
	f->fd = f->folder = -1;
	f->temporary[0] = '\0';
}

weir__write_error weir__safe_write_file(const char *path, const void *data, size_t n)
{
	weir__safe_file f;

	if (weir__safe_open(&f, path)) {
		weir__safe_write(&f, data, n);
		weir__safe_commit(&f);
	}
	return f.error;
}

const char *weir__write_step_text(weir__write_step step)
{
	static const char *const text[] = {
		[WEIR__STEP_NONE] = "nothing",
		[WEIR__STEP_FIND] = "looking at the target",
		[WEIR__STEP_FOLDER] = "opening the folder",
		[WEIR__STEP_OPEN] = "creating the file",
		[WEIR__STEP_WRITE] = "writing",
		[WEIR__STEP_MODE] = "setting the file's mode",
		[WEIR__STEP_SYNC] = "syncing the file",
		[WEIR__STEP_CLOSE] = "closing the file",
		[WEIR__STEP_RENAME] = "renaming the new file over the old one",
		[WEIR__STEP_SYNC_FOLDER] = "syncing the folder after the new file was put in place",
	};

	return text[step];
}
