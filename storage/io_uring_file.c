/* storage/io_uring_file.c: the data directory of the io_uring world: cold calls that block for one metadata
 * operation. io_uring_op.c has those that do not.
 *
 * Invariants:
 *  1. Names are names below one directory descriptor (io_name_ok); no other path leaves these files.
 *  2. A file with ops in flight is not closed.
 *  3. Connections cannot take the last descriptors: some are held back for files, and taken back when files close. */
#include "io_uring_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct uring_file *uring_file_get(struct uring *u, int file)
{
	ENSURE(file >= 0 && (uint32_t)file < u->file_count);
	ENSURE(u->files[file].fd >= 0);
	return &u->files[file];
}

static int file_new(struct uring *u, int fd)
{
	for (uint32_t i = 0; i < u->file_count; i++) {
		if (u->files[i].fd < 0) {
			u->files[i] = (struct uring_file){ .fd = fd };
			return (int)i;
		}
	}
	uint32_t count = u->file_count ? u->file_count * 2 : 16;
	u->files = realloc(u->files, size_mul(count, sizeof *u->files));
	ENSURE(u->files != NULL);
	for (uint32_t i = u->file_count; i < count; i++)
		u->files[i] = (struct uring_file){ .fd = -1 };
	uint32_t id = u->file_count;
	u->file_count = count;
	u->files[id].fd = fd;
	return (int)id;
}

void uring_reserve_fill(struct uring *u)
{
	while (u->reserve_count < URING_RESERVE) {
		int fd = fcntl(u->dir_fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return;
		u->reserve[u->reserve_count++] = fd;
	}
}

int uring_open_below(struct uring *u, const char *name, int how)
{
	int fd = openat(u->dir_fd, name, how, 0640);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE) && u->reserve_count > 0) {
		(void)close(u->reserve[--u->reserve_count]);
		fd = openat(u->dir_fd, name, how, 0640);
	}
	return fd;
}

int uring_open(struct io *io, const char *name, unsigned flags)
{
	struct uring *u = uring_of(io);
	ENSURE(io_name_ok(name));
	int how = O_CLOEXEC | O_NOFOLLOW | (flags & IO_READONLY ? O_RDONLY : O_RDWR);
	how |= flags & IO_CREATE ? O_CREAT | O_EXCL : 0;
	how |= flags & IO_DSYNC ? O_DSYNC : 0;
	int direct = flags & IO_DIRECT ? O_DIRECT : 0;
	int fd = uring_open_below(u, name, how | direct);
	if (fd < 0 && errno == EINVAL && direct) {
		/* tmpfs and some others have no O_DIRECT. The failed call may have created the file already. */
		fd = uring_open_below(u, name, how & ~O_EXCL);
	}
	return fd < 0 ? -errno : file_new(u, fd);
}

void uring_close(struct io *io, int file)
{
	struct uring *u = uring_of(io);
	struct uring_file *f = uring_file_get(u, file);
	ENSURE(f->in_flight == 0);
	(void)close(f->fd); /* what matters was synced, and its error seen, before */
	f->fd = -1;
	uring_reserve_fill(u);
}

int64_t uring_size(struct io *io, int file)
{
	struct stat st;
	return fstat(uring_file_get(uring_of(io), file)->fd, &st) == 0 ? (int64_t)st.st_size : -errno;
}

int uring_allocate(struct io *io, int file, uint64_t bytes)
{
	int fd = uring_file_get(uring_of(io), file)->fd;
	int err;
	do {
		err = fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : -errno;
	} while (err == -EINTR);
	if (err == -EOPNOTSUPP) /* no reservation on this file system: the size at least */
		err = ftruncate(fd, (off_t)bytes) == 0 ? 0 : -errno;
	return err;
}

int uring_truncate(struct io *io, int file, uint64_t bytes)
{
	return ftruncate(uring_file_get(uring_of(io), file)->fd, (off_t)bytes) == 0 ? 0 : -errno;
}

int uring_rename(struct io *io, const char *from, const char *to)
{
	ENSURE(io_name_ok(from) && io_name_ok(to));
	int dir = uring_of(io)->dir_fd;
	return renameat(dir, from, dir, to) == 0 ? 0 : -errno;
}

int uring_unlink(struct io *io, const char *name)
{
	ENSURE(io_name_ok(name));
	return unlinkat(uring_of(io)->dir_fd, name, 0) == 0 ? 0 : -errno;
}

int uring_sync_dir(struct io *io)
{
	return fsync(uring_of(io)->dir_fd) == 0 ? 0 : -errno;
}

int uring_mkdir(struct io *io, const char *name)
{
	ENSURE(io_name_ok(name));
	return mkdirat(uring_of(io)->dir_fd, name, 0750) == 0 || errno == EEXIST ? 0 : -errno;
}

int64_t uring_size_of(struct io *io, const char *name)
{
	struct stat st;
	ENSURE(io_name_ok(name));
	if (fstatat(uring_of(io)->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? -EISDIR : (int64_t)st.st_size;
}

int uring_open_dir(struct uring *u, const char *name)
{
	ENSURE(name[0] == '\0' || io_name_ok(name));
	int fd = uring_open_below(u, name[0] ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int uring_list(struct io *io, const char *name, void (*each)(void *ctx, const char *name), void *ctx)
{
	/* A descriptor of its own: the position of dir_fd would be shared. */
	int fd = uring_open_dir(uring_of(io), name);
	if (fd < 0)
		return fd;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		int err = -errno;
		(void)close(fd);
		return err;
	}
	int err = 0;
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(dir);
		if (!entry) {
			err = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			each(ctx, entry->d_name);
	}
	(void)closedir(dir);
	return err;
}

int64_t uring_free_bytes(struct io *io)
{
	struct statvfs st;
	if (fstatvfs(uring_of(io)->dir_fd, &st) != 0)
		return -errno;
	return (int64_t)st.f_bavail * (int64_t)st.f_frsize;
}

int uring_lock(struct io *io, const char *name)
{
	struct uring *u = uring_of(io);
	ENSURE(io_name_ok(name));
	int fd = openat(u->dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int err = -errno;
		(void)close(fd);
		return err;
	}
	u->locks = realloc(u->locks, size_mul(u->lock_count + 1, sizeof *u->locks));
	ENSURE(u->locks != NULL);
	u->locks[u->lock_count++] = fd;
	return 0;
}

void uring_files_free(struct uring *u)
{
	for (uint32_t i = 0; i < u->file_count; i++) {
		if (u->files[i].fd >= 0)
			(void)close(u->files[i].fd);
	}
	for (uint32_t i = 0; i < u->lock_count; i++)
		(void)close(u->locks[i]);
	free(u->files);
	free(u->locks);
	while (u->reserve_count > 0)
		(void)close(u->reserve[--u->reserve_count]);
	(void)close(u->dir_fd);
}
