/* broker/host.h: what the process asks of the operating system besides struct io: its directory, its limits, its
 * supervisor, its own cost. Only main.c uses it; nothing here runs in the path of a task. */
#pragma once

#include "../wire/err.h"
#include "../wire/span.h"

/* Opens what is closed of the standard streams, so that no other file gets their numbers and is written to as one of them. */
void host_standard_streams(void);

/* Makes `dir` with mode 0700 where it does not exist; its parent must. ERR_OK also where it is there already as a directory.
 * ERR_IO with text otherwise. */
enum err host_make_dir(const char *dir, char text[256]) MUST_CHECK;

/* Appends the content of a regular file of at most `max` bytes to `out`. ERR_IO with text where it cannot be read. */
enum err host_read_file(const char *path, size_t max, struct buf *out, char text[256]) MUST_CHECK;

/* Raises the soft limit of open files to at least `files` where the hard limit allows it. Returns the limit now. */
uint64_t host_raise_files(uint64_t files);

/* Tells systemd (NOTIFY_SOCKET), where there is one: "READY=1", "STOPPING=1". Errors are nobody's concern. */
void host_notify(const char *state);

/* Writes all of `text` to standard error; gives up silently where that is gone. */
void host_say(const char *text, size_t len);

/* Milliseconds since 1970, for event lines. */
uint64_t host_wall_ms(void);

/* Opens what host_get_cost reads: done once, before the process gives up the file system. -1 = not to be had. */
int host_open_statm(void);

struct host_cost {
	double cpu_seconds;      /* user and system, this process */
	uint64_t resident_bytes; /* 0 = not known */
};
void host_get_cost(int statm, struct host_cost *out); /* statm: from host_open_statm */
