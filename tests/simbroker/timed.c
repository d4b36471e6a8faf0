/* tests/simbroker/timed.c: the workload "timed": its parts, and the verdict at the end. */
#include "timed.h"

static void *timed_open(struct scene *scene)
{
	struct timed *t = calloc(1, sizeof *t);
	ENSURE(t);
	t->scene = scene;
	t->operator = timed_operator_new(t);
	t->worker = timed_worker_new(t);
	return t;
}

static const char *timed_waits(void *state)
{
	static char text[160];
	struct timed *t = state;
	for (uint32_t i = 0; i < SCHEDULES; i++) {
		const struct timed_schedule *x = &t->schedules[i];
		bool whole = x->counted && (x->tasks == x->fired || (x->overlap == OVERLAP_REPLACE && x->tasks > 0));
		if (whole)
			continue;
		(void)snprintf(text, sizeof text, "schedule %u (every %u ms, overlap %u): %llu tasks came, %llu of them in peace; %llu firings%s", i,
			       x->every_ms, x->overlap, (unsigned long long)x->tasks, (unsigned long long)(x->tasks - x->in_peace),
			       (unsigned long long)x->fired, x->counted ? "" : ", not counted yet");
		return text;
	}
	for (uint32_t i = 0; i < t->bad_count; i++)
		if (!t->bads[i].complete_sent) {
			(void)snprintf(text, sizeof text, "task %llu, which died %u times, is not done", (unsigned long long)t->bads[i].id,
				       t->bads[i].died);
			return text;
		}
	return t->letters_gone ? timed_operator_waits(t->operator) : "dead letters that are put back";
}

/* T6, once everything is over. */
static bool timed_idle(void *state)
{
	struct timed *t = state;
	uint64_t deaths = 0, died = 0;
	if (timed_waits(t) != NULL)
		return false;
	for (uint32_t i = 0; i < t->bad_count; i++) {
		deaths += t->bads[i].deaths;
		died += t->bads[i].died;
	}
	if (t->put_back < died || t->put_back > deaths)
		scene_violate(t->scene, "T6: redrives have put back %llu letters; there were %llu deaths at least and %llu at most",
			      (unsigned long long)t->put_back, (unsigned long long)died, (unsigned long long)deaths);
	return true;
}

const struct workload workload_timed = { "timed", timed_open, timed_idle, timed_waits };
