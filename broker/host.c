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

bool host_readable_file(const char *path, char text[256])
{
	struct stat st;
	const char *why = NULL;
	if (stat(path, &st) != 0 || access(path, R_OK) != 0)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	if (why)
		(void)snprintf(text, 256, "%.180s: %s", path, why);
	return why == NULL;
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

void host_get_cost(struct host_cost *out)
{
	*out = (struct host_cost){ .cpu_seconds = 0 };
	struct rusage usage;
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		out->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	char text[128];
	ssize_t len = read(fd, text, sizeof text - 1);
	(void)close(fd);
	unsigned long long pages;
	if (len <= 0)
		return;
	text[len] = '\0';
	long page = sysconf(_SC_PAGESIZE);
	if (page > 0 && sscanf(text, "%*s %llu", &pages) == 1)
		out->resident_bytes = (uint64_t)pages * (uint64_t)page;
}
