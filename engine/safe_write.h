/* safe_write.h: replace a file so that at every moment either the old or the new one is whole.
 *
 * The new contents go to NAME.tmp.PID beside the target, are synced, get the old file's mode and owner, and are renamed over
 * it; then the folder is synced. Whatever fails before the rename, the old file is untouched and the temporary one is
 * removed. A target behind a symbolic link is replaced where it stands; the link stays. A target that is no
 * regular file (/dev/stdout, a pipe) is written directly: there is nothing to protect. */
#ifndef WEIR_ENGINE_SAFE_WRITE_H
#define WEIR_ENGINE_SAFE_WRITE_H

#include <stdbool.h>
#include <stddef.h>

#define WEIR__PATH_MAX 4096
#define WEIR__NAME_MAX 255

typedef enum weir__write_step {
	WEIR__STEP_NONE,
	WEIR__STEP_FIND,   /* the target's path */
	WEIR__STEP_FOLDER, /* opening the folder */
	WEIR__STEP_OPEN,   /* creating the temporary file */
	WEIR__STEP_WRITE,
	WEIR__STEP_MODE,
	WEIR__STEP_SYNC,
	WEIR__STEP_CLOSE,
	WEIR__STEP_RENAME,
	WEIR__STEP_SYNC_FOLDER, /* the new file is in place, but may not survive a power failure */
} weir__write_step;

/* What went wrong: the step, and errno there. */
typedef struct weir__write_error {
	weir__write_step step;
	int number;
} weir__write_error;

typedef struct weir__safe_file {
	weir__write_error error; /* the first one */
	int fd, folder;          /* -1 where not open */
	bool direct, existed;
	unsigned mode, owner, group;   /* of the old file */
	char path[WEIR__PATH_MAX];     /* of the folder */
	char name[WEIR__NAME_MAX + 1]; /* of the target in it */
	char temporary[WEIR__NAME_MAX + 1];
} weir__safe_file;

/* All return false after an error, which sticks: the calls that follow do nothing. commit and abandon close everything;
 * after a failed open or write either of them may be called, and one must be after a successful open. */
bool weir__safe_open(weir__safe_file *f, const char *path);
bool weir__safe_write(weir__safe_file *f, const void *data, size_t n);
bool weir__safe_commit(weir__safe_file *f);
void weir__safe_abandon(weir__safe_file *f);

/* All of it at once. */
weir__write_error weir__safe_write_file(const char *path, const void *data, size_t n);

/* "writing" for a step, to stand before the text of errno. */
const char *weir__write_step_text(weir__write_step step);

#endif
