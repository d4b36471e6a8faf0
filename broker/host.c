/* broker/host.c: the kernel calls of the process itself: its directory, limits, supervisor and cost.
 *
 * In the flow: beside it, at start and stop and when somebody asks for statistics. Disk, network, time and
 * randomness of the broker's work go through struct io; nothing here may be used for them. */
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void host_standard_streams(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
}

enum err host_make_dir(const char *dir, char text[256])
{
	struct stat st;
	if (mkdir(dir, 0700) == 0)
		return ERR_OK;
	int why = errno;
	if (why == EEXIST && stat(dir, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return ERR_OK;
		why = ENOTDIR;
	}
	(void)snprintf(text, 256, "data directory %.180s: %s", dir, strerror(why));
	return ERR_IO;
}

/* NULL = read, else why not. */
static const char *read_all(int fd, size_t max, struct buf *out)
{
	struct stat st;
	if (fd < 0 || fstat(fd, &st) != 0)
		return strerror(errno);
	if (!S_ISREG(st.st_mode))
		return "not a regular file";
	if ((uint64_t)st.st_size > max)
		return "too big";
	size_t size = (size_t)st.st_size, done = 0;
	uint8_t *at = buf_extend(out, size);
	while (done < size) {
		ssize_t got = read(fd, at + done, size - done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? strerror(errno) : "changed while it was read";
		done += (size_t)got;
	}
	return NULL;
}

enum err host_read_file(const char *path, size_t max, struct buf *out, char text[256])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *why = read_all(fd, max, out);
	if (why)
		(void)snprintf(text, 256, "%.180s: %s", path, why);
	if (fd >= 0)
		(void)close(fd);
	return why ? ERR_IO : ERR_OK;
}

uint64_t host_raise_files(uint64_t files)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 0;
	if (limit.rlim_cur < files) {
		struct rlimit want = limit;
		want.rlim_cur = files;
		/* Root may also raise the hard limit; where that is refused, take what there is. */
		want.rlim_max = MAX_OF(limit.rlim_max, (rlim_t)files);
		if (setrlimit(RLIMIT_NOFILE, &want) != 0) {
			want.rlim_max = limit.rlim_max;
			want.rlim_cur = MIN_OF((rlim_t)files, limit.rlim_max);
			(void)setrlimit(RLIMIT_NOFILE, &want);
		}
		if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
			return 0;
	}
	return limit.rlim_cur;
}

void host_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof to.sun_path)
		return;
	memcpy(to.sun_path, path, strlen(path));
	if (path[0] == '@') /* an abstract socket */
		to.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to, len);
	(void)close(fd);
}

void host_say(const char *text, size_t len)
{
	while (len > 0) {
		ssize_t done = write(STDERR_FILENO, text, len);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;
		text += done;
		len -= (size_t)done;
	}
}

uint64_t host_wall_ms(void)
{
	struct timespec now;
	ENSURE(clock_gettime(CLOCK_REALTIME, &now) == 0);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int host_open_statm(void)
{
	return open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

void host_get_cost(int statm, struct host_cost *out)
{
	*out = (struct host_cost){ .cpu_seconds = 0 };
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		out->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
	char text[128];
	unsigned long long pages;
	ssize_t len = statm < 0 ? -1 : pread(statm, text, sizeof text - 1, 0);
	if (len <= 0)
		return;
	text[len] = '\0';
	long page = sysconf(_SC_PAGESIZE);
	if (page > 0 && sscanf(text, "%*s %llu", &pages) == 1)
		out->resident_bytes = (uint64_t)pages * (uint64_t)page;
}
