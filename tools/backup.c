/* tools/backup.c: `hillock backup` and `hillock restore`: a data directory at rest, blobs included, copied with the digest of every file.
 *
 * Data flow: DIR -> TARGET/data and TARGET/manifest; back the same way, compared.
 *
 * Invariants:
 * 1. The broker's lock is held while its directory is read: nobody writes to it meanwhile.
 * 2. The manifest comes last and ends with the number of files: without it, it is no backup.
 * 3. Of a restored directory the identity comes last: what was interrupted is refused by the broker, not half believed. */
#include "commands.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/sha256.h"
#include "progress.h"

enum { COPY_BYTES = 1 << 20, DEPTH_MAX = 8 };

struct copying {
	const char *from, *to;
	FILE *manifest;              /* backup: written; restore: NULL */
	uint8_t *room;
	uint64_t files, bytes;
	struct progress progress;
};

static bool failed(const char *path, const char *what)
{
	cli_say("%s: %s: %s", path, what, strerror(errno));
	return false;
}

static bool join(char out[PATH_MAX], const char *dir, const char *name)
{
	if (snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
		return true;
	cli_say("%s/%s: the path is too long", dir, name);
	return false;
}

/* A directory's names are durable only when it is synced, too. */
static bool sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd >= 0 && fsync(fd) == 0;
	if (!good)
		(void)failed(path, "sync");
	if (fd >= 0)
		(void)close(fd);
	return good;
}

static bool copy_bytes(struct copying *c, int in, int out, uint8_t digest[SHA256_BYTES], uint64_t *size)
{
	struct sha256 sha;
	ssize_t got;
	sha256_begin(&sha);
	*size = 0;
	while ((got = read(in, c->room, COPY_BYTES)) > 0 || (got < 0 && errno == EINTR)) {
		if (got < 0)
			continue;
		sha256_add(&sha, span_of(c->room, (size_t)got));
		for (ssize_t put = 0, n; put < got; put += n)
			if ((n = write(out, c->room + put, (size_t)(got - put))) <= 0)
				return false;
		*size += (uint64_t)got;
		progress_step(&c->progress, c->bytes + *size);
	}
	sha256_end(&sha, digest);
	c->bytes += *size;
	return got == 0 && fsync(out) == 0;
}

/* One file, synced. */
static bool copy_file(struct copying *c, const char *name, uint8_t digest[SHA256_BYTES], uint64_t *size)
{
	char from[PATH_MAX], to[PATH_MAX];
	if (!join(from, c->from, name) || !join(to, c->to, name))
		return false;
	int in = open(from, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return failed(from, "open");
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	bool good = out >= 0 && copy_bytes(c, in, out, digest, size);
	if (!good)
		(void)failed(to, "copy");
	if (out >= 0)
		(void)close(out);
	(void)close(in);
	c->files += good;
	return good;
}

static bool make_dir(const char *path)
{
	return mkdir(path, 0750) == 0 || errno == EEXIST || failed(path, "mkdir");
}

/* What is being written when the broker ends belongs to nobody. */
static bool is_left_out(const char *name)
{
	return strcmp(name, "lock") == 0 || strcmp(name, "blobs/up") == 0;
}

static bool backup_entry(struct copying *c, const char *name, int depth);

/* `name` is relative to both; "" is the top. */
static bool backup_dir(struct copying *c, const char *name, int depth)
{
	char path[PATH_MAX], to[PATH_MAX], inner[PATH_MAX];
	if (!join(path, c->from, name) || !join(to, c->to, name) || !make_dir(to))
		return false;
	DIR *dir = opendir(path);
	bool good = dir != NULL || failed(path, "open");
	for (const struct dirent *e; good && (errno = 0, e = readdir(dir)) != NULL;) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		good = *name ? join(inner, name, e->d_name) : snprintf(inner, sizeof inner, "%s", e->d_name) < PATH_MAX;
		good = good && (is_left_out(inner) || backup_entry(c, inner, depth));
	}
	if (dir)
		(void)closedir(dir);
	return good && sync_dir(to);
}

static bool backup_entry(struct copying *c, const char *name, int depth)
{
	char path[PATH_MAX], text[HLK_DIGEST_TEXT];
	uint8_t digest[SHA256_BYTES];
	uint64_t size;
	struct stat st;
	if (!join(path, c->from, name))
		return false;
	if (lstat(path, &st) != 0)
		return failed(path, "look");
	if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
		return backup_dir(c, name, depth + 1);
	if (!S_ISREG(st.st_mode)) {
		cli_say("%s: neither a file nor a directory of the broker: left out", path);
		return true;
	}
	if (!copy_file(c, name, digest, &size))
		return false;
	hlk_digest_print(digest, text);
	return fprintf(c->manifest, "%s %llu %s\n", text, (unsigned long long)size, name) > 0 || failed("manifest", "write");
}

static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	bool empty = true;
	for (const struct dirent *e; dir && empty && (e = readdir(dir)) != NULL;)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	if (dir)
		(void)closedir(dir);
	return empty;
}

/* The broker's own lock. The descriptor, or -1 after a message. */
static int lock_dir(const char *dir, int *code)
{
	char path[PATH_MAX];
	*code = CLI_NOT_FOUND;
	if (!join(path, dir, "identity"))
		return -1;
	if (access(path, R_OK) != 0) {
		cli_say("%s: %s: not the data directory of a broker", path, strerror(errno));
		return -1;
	}
	if (!join(path, dir, "lock"))
		return -1;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	*code = CLI_REFUSED;
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	if (fd < 0)
		(void)failed(path, "open");
	else
		cli_say("%s: a broker is using this directory: stop it first", dir);
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static void result(struct cli *cli, const struct copying *c)
{
	static const struct column fields[] = { { "files", "files", COLUMN_NUMBER }, { "bytes", "bytes", COLUMN_NUMBER } };
	json_t *object = json_object();
	cli_set(object, "files", cli_integer(c->files));
	cli_set(object, "bytes", cli_integer(c->bytes));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
}

static bool manifest_end(struct copying *c, const char *target)
{
	bool good = fprintf(c->manifest, "end %llu\n", (unsigned long long)c->files) > 0 && fflush(c->manifest) == 0 &&
		    fsync(fileno(c->manifest)) == 0;
	return good ? sync_dir(target) : failed(target, "manifest");
}

static int backup_run(struct cli *cli)
{
	const char *dir = cli->args.plain[0], *target = cli->args.plain[1];
	char data[PATH_MAX], manifest[PATH_MAX];
	struct copying c = { .from = dir, .to = data };
	int code;
	if (!join(data, target, "data") || !join(manifest, target, "manifest"))
		return CLI_USAGE;
	if (!is_empty(target))
		return cli_usage(cli, "%s: there is something in it already", target);
	int lock = lock_dir(dir, &code);
	if (lock < 0)
		return code;
	c.room = malloc(COPY_BYTES);
	ENSURE(c.room != NULL);
	progress_begin(&c.progress, "copying", 0);
	bool good = make_dir(target);
	c.manifest = good ? fopen(manifest, "wxe") : NULL;
	if (good && !c.manifest)
		good = failed(manifest, "open");
	good = good && backup_dir(&c, "", 0) && manifest_end(&c, target);
	progress_end(&c.progress);
	if (c.manifest)
		(void)fclose(c.manifest);
	free(c.room);
	(void)close(lock);
	if (!good)
		return CLI_PARTIAL;
	result(cli, &c);
	return CLI_OK;
}

const struct command backup_command = {
	"backup", NULL, "DATA-DIR TARGET", 2, 2, "copies the data directory of a stopped broker, blobs included",
	"TARGET is made, or is an empty directory. It gets the files, synced, and a manifest with the digest of each;\n"
	"without that it is no backup. A directory that a broker is using is refused (exit status 5).\n"
	"Blobs in a bucket are not in the directory: back the bucket up, too.",
	"systemctl stop hillockd; hillock backup /var/lib/hillock /backup/$(date +%F); systemctl start hillockd\tevery night\n"
	"hillock fsck /backup/2026-11-28/data\twhat is in it", NULL, backup_run,
};

/* ---- restore ---- */

static bool dirs_of(const struct copying *c, const char *name)
{
	char path[PATH_MAX];
	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		if (snprintf(path, sizeof path, "%s/%.*s", c->to, (int)(slash - name), name) >= PATH_MAX || !make_dir(path))
			return false;
	}
	return true;
}

/* One line of the manifest: the file is copied and compared. */
static bool restore_one(struct copying *c, const char *want, unsigned long long size, const char *name)
{
	uint8_t digest[SHA256_BYTES];
	char is[HLK_DIGEST_TEXT];
	uint64_t copied = 0;
	if (name[0] == '/' || strstr(name, "..")) {
		cli_say("manifest: %s leads out of the directory", name);
		return false;
	}
	if (!dirs_of(c, name) || !copy_file(c, name, digest, &copied))
		return false;
	hlk_digest_print(digest, is);
	if (copied == size && strcmp(is, want) == 0)
		return true;
	cli_say("%s/%s: damaged: its digest is %s, and was %s", c->from, name, is, want);
	return false;
}

/* The identity last. */
static bool restore_all(struct copying *c, bool *whole)
{
	char line[PATH_MAX + 128], identity[HLK_DIGEST_TEXT] = "";
	unsigned long long size, identity_size = 0, count = 0;
	bool good = true;
	while (good && fgets(line, sizeof line, c->manifest)) {
		char digest[HLK_DIGEST_TEXT];
		int at = 0;
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "end %llu", &count) == 1) {
			*whole = true;
			break;
		}
		good = sscanf(line, "%64s %llu %n", digest, &size, &at) == 2 && at > 0;
		if (!good)
			cli_say("manifest: %.80s: not a line of one", line);
		else if (strcmp(line + at, "identity") == 0) {
			(void)snprintf(identity, sizeof identity, "%s", digest);
			identity_size = size;
		} else {
			good = restore_one(c, digest, size, line + at);
		}
	}
	if (good && (!*whole || !identity[0] || count != c->files + 1)) {
		cli_say("manifest: it does not end, or not as it should: not a whole backup");
		good = false;
	}
	return good && sync_dir(c->to) && restore_one(c, identity, identity_size, "identity") && sync_dir(c->to);
}

static int restore_run(struct cli *cli)
{
	const char *backup = cli->args.plain[0], *dir = cli->args.plain[1];
	char data[PATH_MAX], manifest[PATH_MAX];
	struct copying c = { .from = data, .to = dir };
	bool whole = false;
	if (!join(data, backup, "data") || !join(manifest, backup, "manifest"))
		return CLI_USAGE;
	if (!is_empty(dir))
		return cli_usage(cli, "%s: there is something in it already", dir);
	c.manifest = fopen(manifest, "re");
	if (!c.manifest) {
		cli_say("%s: %m: not a backup, or not a whole one", manifest);
		return CLI_NOT_FOUND;
	}
	c.room = malloc(COPY_BYTES);
	ENSURE(c.room != NULL);
	progress_begin(&c.progress, "copying", 0);
	bool good = make_dir(dir) && restore_all(&c, &whole);
	progress_end(&c.progress);
	(void)fclose(c.manifest);
	free(c.room);
	if (!good)
		return CLI_REFUSED;
	result(cli, &c);
	return CLI_OK;
}

const struct command restore_command = {
	"restore", NULL, "BACKUP DATA-DIR", 2, 2, "makes a data directory out of a backup, and compares every file",
	"DATA-DIR is made, or is empty. A file that is damaged ends it (exit status 5), and the broker refuses what is there.\n"
	"Two brokers must never run on two copies of one directory: they would hand out the same tasks.",
	"hillock restore /backup/2026-11-28 /var/lib/hillock && chown -R hillock: /var/lib/hillock\tafter the disk was lost", NULL, restore_run,
};
