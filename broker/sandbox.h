/* broker/sandbox.h: what the process gives up once it has what it needs, so that whoever takes it over finds little. Only main.c
 * uses it, at the start, while there is one thread; threads made later inherit all of it.
 *
 * docs/operations.md says it to operators. */
#pragma once

#include "../wire/err.h"

/* No core files, and no other process of the same user may read our memory: tokens and keys are in it. */
void sandbox_no_dumps(void);

/* Is the process root, that is: could it give that up? */
bool sandbox_is_root(void);

/* Becomes the user of this name for good, with its groups and without any capability; the directory `dir` is given to it where it is
 * root's. ERR_INVALID_INPUT with text: no such user, or we are not root and somebody else; ERR_IO: the system refused. */
enum err sandbox_become_user(const char *user, const char *dir, char text[256]) MUST_CHECK;

/* The version of Landlock that this kernel has: 1 files, 4 TCP, 6 signals as well; 0 = none. */
int sandbox_landlock_version(void);

enum sandbox_access {
	SANDBOX_READ,      /* a file, or a directory with all below it: read */
	SANDBOX_WRITE,     /* a directory: files in it are made, read, written, renamed and removed, and directories made */
	SANDBOX_SOCKETS,   /* a directory: unix sockets in it are removed */
};
struct sandbox_path { const char *path; enum sandbox_access access; };

/* Leaves of the file system only these paths, and of the network only what is open or listening already (Landlock): no file elsewhere
 * can be opened, no address bound, nor, without `dial`, dialled, no program started that gains rights. Paths that do not exist are left
 * out. ERR_OK; ERR_UNSUPPORTED with text where this kernel has no Landlock; ERR_IO with text. There is no way back. */
enum err sandbox_confine(const struct sandbox_path *paths, uint32_t count, bool dial, char text[256]) MUST_CHECK;
