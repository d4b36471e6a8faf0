/* tests/simbroker/directory.c: the workload "directory": its parts, and the finale of every run: in quiet, one holder says goodbye and
 * another one vanishes, both with a call in work, and the caller must hear of each as promised. */
#include "directory.h"

static void *directory_open(struct scene *scene)
{
	struct directory *d = calloc(1, sizeof *d);
	ENSURE(d);
	d->scene = scene;
	for (uint32_t i = 0; i < HOLDERS; i++)
		d->holders[i] = holder_sim_new(d, i);
	d->caller = directory_caller_new(d);
	return d;
}

static bool directory_idle(void *state)
{
	struct directory *d = state;
	return directory_caller_idle(d->caller);
}

static const char *directory_waits(void *state)
{
	struct directory *d = state;
	return directory_caller_waits(d->caller);
}

const struct workload workload_directory = { "directory", directory_open, directory_idle, directory_waits };
