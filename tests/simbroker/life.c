/* tests/simbroker/life.c: the workload "life": its parts, and what they have in common. */
#include "life.h"

const char *life_kind_name(const struct life_task *t)
{
	static const char *const names[LIFE_KINDS] = { "stream", "once", "expires", "close", "execution", "heartbeat" };
	return names[t->kind];
}

struct life_task *life_find(struct life *life, struct span payload)
{
	uint32_t index;
	if (payload.len == sizeof index) {
		memcpy(&index, payload.data, sizeof index);
		if (index < life->count)
			return &life->tasks[index];
	}
	scene_violate(life->scene, "L1: a task with a payload that nobody submitted (%zu bytes)", payload.len);
	return NULL;
}

void life_yield_fill(const struct life *life, const struct life_task *t, uint32_t number, uint8_t out[LIFE_YIELD_BYTES])
{
	uint32_t words[LIFE_YIELD_BYTES / 4] = { (uint32_t)(t - life->tasks), number, number * 2654435761u, ~number };
	memcpy(out, words, LIFE_YIELD_BYTES);
}

static void *life_open(struct scene *scene)
{
	struct life *life = calloc(1, sizeof *life);
	ENSURE(life);
	life->scene = scene;
	life->caller = life_caller_new(life);
	for (uint32_t i = 0; i < LIFE_WORKERS; i++)
		life->workers[i] = life_worker_new(life, i);
	return life;
}

static bool life_idle(void *state)
{
	struct life *life = state;
	return life_caller_idle(life->caller);
}

static const char *life_waits(void *state)
{
	static char text[120];
	struct life *life = state;
	for (uint32_t i = 0; i < life->count; i++) {
		const struct life_task *t = &life->tasks[i];
		if (!t->refused && !t->answered) {
			(void)snprintf(text, sizeof text, "task %llu (%s, number %u, %u of %u yields, %u deliveries)",
				       (unsigned long long)t->id, life_kind_name(t), i, t->next, t->yields, t->delivered);
			return text;
		}
	}
	return "nothing";
}

const struct workload workload_life = { "life", life_open, life_idle, life_waits };
