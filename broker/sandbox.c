/* broker/sandbox.c: the kernel calls by which the process gives up what it does not need. The contract stands in sandbox.h.
 *
 * Landlock is called by number: the C library has no names for it, and the headers of Debian 12 know only its first version. What a
 * kernel does not know is left out of what is asked of it. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From include/uapi/linux/landlock.h of Linux 6.12. */
enum { LANDLOCK_VERSION_QUERY = 1, LANDLOCK_PATH = 1 };
struct landlock_rules { uint64_t files, network, scopes; };
struct landlock_path { uint64_t access; int32_t fd; } __attribute__((packed));
#define FILE_WRITE (1ull << 1)
#define FILE_READ (1ull << 2)
#define DIR_READ (1ull << 3)
#define REMOVE_FILE (1ull << 5)
#define MAKE_DIR (1ull << 7)
#define MAKE_FILE (1ull << 8)
#define FILES_V1 ((1ull << 13) - 1)
#define FILE_REFER (1ull << 13)    /* version 2 */
#define FILE_TRUNCATE (1ull << 14) /* version 3 */
#define TCP_BIND (1ull << 0)       /* version 4 */
#define TCP_CONNECT (1ull << 1)
#define FILE_IOCTL_DEVICE (1ull << 15) /* version 5 */
#define SCOPE_SIGNAL (1ull << 1)   /* version 6 */

void sandbox_no_dumps(void)
{
	const struct rlimit none = { 0, 0 };
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
}

bool sandbox_is_root(void)
{
	return geteuid() == 0;
}

static enum err refuse(char text[256], const char *what, const char *whose)
{
	(void)snprintf(text, 256, "%s %.150s: %s", what, whose, strerror(errno));
	return ERR_IO;
}

enum err sandbox_become_user(const char *user, const char *dir, char text[256])
{
	errno = 0;
	const struct passwd *who = getpwnam(user);
	if (!who) {
		(void)snprintf(text, 256, "user: there is no user %.150s", user);
		return ERR_INVALID_INPUT;
	}
	if (geteuid() == who->pw_uid)
		return ERR_OK;
	if (geteuid() != 0) {
		(void)snprintf(text, 256, "user: only root can become %.150s", user);
		return ERR_INVALID_INPUT;
	}
	struct stat st;
	if (stat(dir, &st) == 0 && st.st_uid == 0 && chown(dir, who->pw_uid, who->pw_gid) != 0)
		return refuse(text, "cannot give the data directory to", user);
	if (initgroups(user, who->pw_gid) != 0 || setresgid(who->pw_gid, who->pw_gid, who->pw_gid) != 0 ||
	    setresuid(who->pw_uid, who->pw_uid, who->pw_uid) != 0)
		return refuse(text, "cannot become", user);
	ENSURE(setuid(0) != 0 || who->pw_uid == 0); /* there is no way back */
	return ERR_OK;
}

int sandbox_landlock_version(void)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_QUERY);
	return version > 0 ? (int)version : 0;
}

static struct landlock_rules rules_of(int version, bool dial)
{
	struct landlock_rules r = { .files = FILES_V1 };
	r.files |= version >= 2 ? FILE_REFER : 0;
	r.files |= version >= 3 ? FILE_TRUNCATE : 0;
	r.network = version < 4 ? 0 : dial ? TCP_BIND : TCP_BIND | TCP_CONNECT;
	r.files |= version >= 5 ? FILE_IOCTL_DEVICE : 0;
	r.scopes = version >= 6 ? SCOPE_SIGNAL : 0;
	return r;
}

static enum err allow(int ruleset, const struct landlock_rules *rules, const struct sandbox_path *p, char text[256])
{
	struct stat st;
	struct landlock_path rule = { .fd = open(p->path, O_PATH | O_CLOEXEC) };
	if (rule.fd < 0)
		return errno == ENOENT || errno == EACCES ? ERR_OK : refuse(text, "sandbox:", p->path);
	bool is_dir = fstat(rule.fd, &st) == 0 && S_ISDIR(st.st_mode);
	uint64_t read = FILE_READ | (is_dir ? DIR_READ : 0);
	uint64_t write = read | FILE_WRITE | REMOVE_FILE | MAKE_DIR | MAKE_FILE | FILE_TRUNCATE | FILE_REFER;
	rule.access = rules->files & (p->access == SANDBOX_READ ? read : p->access == SANDBOX_WRITE ? write : REMOVE_FILE);
	enum err e = ERR_OK;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH, &rule, 0) != 0)
		e = refuse(text, "sandbox:", p->path);
	(void)close(rule.fd);
	return e;
}

enum err sandbox_confine(const struct sandbox_path *paths, uint32_t count, bool dial, char text[256])
{
	int version = sandbox_landlock_version();
	if (version < 1) {
		(void)snprintf(text, 256, "this kernel has no Landlock (%s)", strerror(errno));
		return ERR_UNSUPPORTED;
	}
	const struct landlock_rules rules = rules_of(version, dial);
	size_t size = version >= 6 ? sizeof rules : version >= 4 ? offsetof(struct landlock_rules, scopes)
								 : offsetof(struct landlock_rules, network);
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
	if (ruleset < 0)
		return refuse(text, "sandbox:", "a set of rules");
	enum err e = ERR_OK;
	for (uint32_t i = 0; i < count && e == ERR_OK; i++)
		e = allow(ruleset, &rules, &paths[i], text);
	if (e == ERR_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		e = refuse(text, "sandbox:", "no new privileges");
	if (e == ERR_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		e = refuse(text, "sandbox:", "the restriction itself");
	(void)close(ruleset);
	return e;
}
