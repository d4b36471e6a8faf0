/* tools/fsck.c: `hillock fsck DIR` runs `hillockd fsck DIR`, so that this command needs no code of the storage.
 *
 * hillockd is looked for beside this program, in ../sbin of it, and then in PATH and /usr/sbin, in this order: a
 * build tree and an installation check with the version they belong to. */
#include "commands.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

static void try_beside(const char *relative, char *const argv[])
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof path - 64);
	if (len <= 0)
		return;
	path[len] = 0;
	char *slash = strrchr(path, '/');
	if (!slash)
		return;
	size_t room = sizeof path - (size_t)(slash + 1 - path);
	if (snprintf(slash + 1, room, "%s", relative) < (int)room)
		(void)execv(path, argv);
}

static int fsck_run(struct cli *cli)
{
	char name[] = "hillockd", verb[] = "fsck", dashes[] = "--", dir[PATH_MAX];
	if (snprintf(dir, sizeof dir, "%s", cli->args.plain[0]) >= (int)sizeof dir)
		return cli_usage(cli, "the path of the directory is too long");
	char *argv[] = { name, verb, dir, NULL }, *dashed[] = { name, verb, dashes, dir, NULL };
	char *const *chosen = dir[0] == '-' ? dashed : argv;
	try_beside("hillockd", chosen);
	try_beside("../sbin/hillockd", chosen);
	(void)execvp("hillockd", chosen);
	(void)execv("/usr/sbin/hillockd", chosen);
	cli_say("hillockd, which does the check, was not found beside this program, in PATH or in /usr/sbin (%m)");
	return CLI_UNAVAILABLE;
}

const struct command fsck_command = {
	"fsck", NULL, "DIR", 1, 1, "checks a data directory that no broker is using",
	"Reads everything, changes nothing, says what is wrong and what it would cost. Runs hillockd fsck DIR and gives\n"
	"its exit code: 0 sound, otherwise damaged or not readable.",
	"hillock fsck /var/lib/hillock\tafter a crash of the machine, before the broker is started", NULL, fsck_run,
};
