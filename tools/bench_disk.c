/* tools/bench_disk.c: `hillock bench disk`: what the disk itself can do, to hold the broker's figures against.
 *
 * Four ways of making 4 KiB durable, because file systems differ in which one is cheap: a broker's confirm cannot be
 * faster than the one it uses. Every file is made in --dir and removed again, also on failure. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "bench.h"
#include "progress.h"

enum { BLOCK = 4096, CHUNK = 1 << 20 };

static const struct option options[] = {
	{ "dir", OPTION_TEXT, 'd', "DIR", ".", 0, 0, "a directory on the disk to measure" },
	{ "count", OPTION_COUNT, 'n', "N", "500", 10, 1000000, "appends of each kind" },
	{ "size", OPTION_SIZE, 0, "BYTES", "256M", CHUNK, 1ull << 40, "of the sequential write" },
	{ 0 },
};

/* A file that is gone from its directory as soon as it is open: nothing is left behind, whatever happens. */
static int file_make(const char *dir, int flags)
{
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/hillock-bench-%d.tmp", dir, (int)getpid()) >= (int)sizeof path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600);
	if (fd >= 0)
		(void)unlink(path);
	return fd;
}

static uint8_t *block_make(size_t size)
{
	void *block = NULL;
	ENSURE(posix_memalign(&block, BLOCK, size) == 0);
	for (size_t i = 0; i < size; i++)
		((uint8_t *)block)[i] = (uint8_t)(i * 131 + (i >> 8));
	return block;
}

static bool write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return true;
}

/* Appends of one block, each durable before the next; `sync` for files that are not open with O_DSYNC. */
static int appends(int fd, uint32_t rounds, bool sync, struct hist *out)
{
	uint8_t *block = block_make(BLOCK);
	bool good = true;
	struct progress bar;
	progress_begin(&bar, "appending", rounds);
	for (uint32_t i = 0; i < rounds && good; i++) {
		uint64_t start = clock_ns();
		good = write_all(fd, block, BLOCK, (uint64_t)i * BLOCK) && (!sync || fdatasync(fd) == 0);
		hist_record(out, clock_ns() - start);
		progress_step(&bar, i + 1);
	}
	int error = good ? 0 : errno;
	progress_end(&bar);
	free(block);
	return error;
}

static bool zero_fill(int fd, uint64_t size)
{
	uint8_t *zeros = calloc(1, CHUNK);
	ENSURE(zeros != NULL);
	bool good = true;
	for (uint64_t at = 0; at < size && good; at += CHUNK)
		good = write_all(fd, zeros, CHUNK, at);
	free(zeros);
	return good && fsync(fd) == 0;
}

int disk_append_direct(const char *dir, uint32_t rounds, struct hist *out)
{
	int fd = file_make(dir, O_DIRECT | O_DSYNC);
	if (fd < 0)
		return errno;
	int error = appends(fd, rounds, false, out);
	(void)close(fd);
	return error;
}

int disk_append_buffered(const char *dir, uint32_t rounds, bool preallocated, struct hist *out)
{
	int fd = file_make(dir, 0), error = 0;
	if (fd < 0)
		return errno;
	if (preallocated && !zero_fill(fd, (uint64_t)rounds * BLOCK))
		error = errno;
	if (error == 0)
		error = appends(fd, rounds, true, out);
	(void)close(fd);
	return error;
}

/* O_DIRECT|O_DSYNC into a file that was written with zeros before: only data moves, no metadata. */
static int append_direct_zeroed(const char *dir, uint32_t rounds, struct hist *out)
{
	int fd = file_make(dir, O_DIRECT | O_DSYNC);
	if (fd < 0)
		return errno;
	/* The zeros go through the page cache: O_DIRECT wants aligned memory, and speed does not matter here. */
	int error = fcntl(fd, F_SETFL, 0) < 0 || !zero_fill(fd, (uint64_t)rounds * BLOCK) ||
			    fcntl(fd, F_SETFL, O_DIRECT) < 0 ? errno : 0;
	if (error == 0)
		error = appends(fd, rounds, false, out); /* F_SETFL leaves O_DSYNC as it was opened */
	(void)close(fd);
	return error;
}

static int sequential(const char *dir, uint64_t size, double *mb_per_s)
{
	int fd = file_make(dir, 0);
	if (fd < 0)
		return errno;
	struct progress bar;
	uint8_t *chunk = block_make(CHUNK);
	uint64_t start = clock_ns(), at = 0;
	bool good = true;
	progress_begin(&bar, "writing", size);
	for (; at < size && good; at += CHUNK) {
		good = write_all(fd, chunk, CHUNK, at);
		progress_step(&bar, at);
	}
	good = good && fdatasync(fd) == 0;
	int error = good ? 0 : errno;
	*mb_per_s = (double)at / 1e6 / ((double)(clock_ns() - start) / 1e9);
	progress_end(&bar);
	free(chunk);
	(void)close(fd);
	return error;
}

static void result_add(json_t *object, const char *key, int error, const struct hist *hist)
{
	json_t *value = json_object();
	if (error != 0) {
		cli_say("%s: %s", key, strerror(error));
		cli_set(value, "error", json_string(strerror(error)));
	} else {
		cli_set(value, "p50", json_real((double)hist_quantile(hist, 0.5) / 1e3));
		cli_set(value, "p99", json_real((double)hist_quantile(hist, 0.99) / 1e3));
		cli_set(value, "max", json_real((double)hist->max / 1e3));
	}
	cli_set(object, key, value);
}

static int disk_run(struct cli *cli)
{
	static const struct column fields[] = {
		{ "dir", "directory", COLUMN_TEXT },
		{ "append_direct_us.p50", "4 KiB append, O_DIRECT|O_DSYNC, p50 us", COLUMN_DECIMAL },
		{ "append_direct_us.p99", "  p99 us", COLUMN_DECIMAL },
		{ "append_direct_zeroed_us.p50", "the same into a zeroed file, p50 us", COLUMN_DECIMAL },
		{ "append_direct_zeroed_us.p99", "  p99 us", COLUMN_DECIMAL },
		{ "append_fdatasync_us.p50", "4 KiB append, write and fdatasync, p50 us", COLUMN_DECIMAL },
		{ "append_fdatasync_us.p99", "  p99 us", COLUMN_DECIMAL },
		{ "append_fdatasync_zeroed_us.p50", "the same into a zeroed file, p50 us", COLUMN_DECIMAL },
		{ "append_fdatasync_zeroed_us.p99", "  p99 us", COLUMN_DECIMAL },
		{ "sequential_mb_per_s", "sequential write, synced once, MB/s", COLUMN_DECIMAL },
	};
	const char *dir = args_text(&cli->args, "dir");
	uint32_t rounds = (uint32_t)args_number(&cli->args, "count");
	struct hist *hists = calloc(4, sizeof *hists);
	double mb_per_s = 0;
	int errors[5];
	ENSURE(hists != NULL);
	json_t *object = json_object();
	output_set_bytes(object, "dir", dir, strlen(dir));
	errors[0] = disk_append_direct(dir, rounds, &hists[0]);
	result_add(object, "append_direct_us", errors[0], &hists[0]);
	errors[1] = append_direct_zeroed(dir, rounds, &hists[1]);
	result_add(object, "append_direct_zeroed_us", errors[1], &hists[1]);
	errors[2] = disk_append_buffered(dir, rounds, false, &hists[2]);
	result_add(object, "append_fdatasync_us", errors[2], &hists[2]);
	errors[3] = disk_append_buffered(dir, rounds, true, &hists[3]);
	result_add(object, "append_fdatasync_zeroed_us", errors[3], &hists[3]);
	errors[4] = sequential(dir, args_number(&cli->args, "size"), &mb_per_s);
	if (errors[4] == 0)
		cli_set(object, "sequential_mb_per_s", json_real(mb_per_s));
	else
		cli_say("sequential write: %s", strerror(errors[4]));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
	free(hists);
	int failed = 0;
	for (size_t i = 0; i < COUNT_OF(errors); i++)
		failed += errors[i] != 0;
	return failed == 0 ? CLI_OK : failed < 5 ? CLI_PARTIAL : CLI_REFUSED;
}

const struct command bench_disk_command = {
	"bench", "disk", "", 0, 0, "measures what a synced append costs on this disk, without any broker",
	"Appends 4 KiB at a time and makes each durable before the next, in four ways, then writes one file in a row.\n"
	"A file system without O_DIRECT (tmpfs) reports that and exits with 3.",
	"hillock bench disk --dir /var/lib/hillock\tthe disk under the broker\n"
	"hillock bench disk --count 2000 -o json | jq .append_direct_us.p50\tone figure", options, disk_run,
};
