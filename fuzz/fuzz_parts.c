/* fuzz/fuzz_parts.c: the sections that tasks, types, schedules, redrives, blobs have in a checkpoint, and the specs of requests, with
 * anything.
 *
 * The first byte says which. Properties: no step outside; what is restored writes the same bytes again. */
#include "../broker/blob_index.h"
#include "../broker/redrive.h"
#include "../broker/schedule.h"
#include "../broker/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_types(struct span section)
{
	struct types *t = types_new();
	struct buf again = { NULL, 0, 0 };
	char text[256] = "";
	if (types_restore(t, section, text) == ERR_OK) {
		types_checkpoint(t, &again);
		struct types *u = types_new();
		enum err e = types_restore(u, buf_span(&again), text);
		ENSURE(e == ERR_OK);
		types_free(u);
	} else {
		ENSURE(text[0] != '\0');
	}
	buf_free(&again);
	types_free(t);
}

static void as_schedules(struct span section)
{
	struct blobs *blobs = blobs_new(1);
	struct schedules *s = schedules_new(blobs);
	struct buf again = { NULL, 0, 0 };
	char text[256] = "";
	if (schedules_restore(s, section, text) == ERR_OK) {
		schedules_checkpoint(s, &again);
		ENSURE(span_eq(buf_span(&again), section) || schedules_count(s) > 1); /* names may have been out of order */
	} else {
		ENSURE(text[0] != '\0');
	}
	buf_free(&again);
	schedules_free(s);
	blobs_free(blobs);
}

static void as_redrives(struct span section)
{
	struct redrives *r = redrives_new();
	struct buf again = { NULL, 0, 0 };
	char text[256] = "";
	if (redrives_restore(r, section, text) == ERR_OK) {
		redrives_checkpoint(r, &again);
		ENSURE(span_eq(buf_span(&again), section));
	} else {
		ENSURE(text[0] != '\0');
	}
	buf_free(&again);
	redrives_free(r);
}

static void as_blobs(struct span section)
{
	struct blobs *x = blobs_new(1);
	struct buf again = { NULL, 0, 0 };
	char text[256] = "";
	if (blobs_restore(x, section, text) == ERR_OK) {
		blobs_checkpoint(x, &again);
		struct blobs *y = blobs_new(2);
		enum err e = blobs_restore(y, buf_span(&again), text);
		ENSURE(e == ERR_OK);
		blobs_free(y);
	} else {
		ENSURE(text[0] != '\0');
	}
	buf_free(&again);
	blobs_free(x);
}

/* The tasks: whatever passes must stand a start. */
static void as_tasks(struct span section)
{
	const struct tasks_config config = { .queues_max = 16, .producers_max = 8, .keys_max = 64, .recent_max = 64,
					     .defaults = QUEUE_SETTINGS_UNSET, .epoch = 7 };
	struct tasks *t = tasks_new(&config);
	char text[256] = "";
	if (tasks_restore(t, section, text) == ERR_OK && tasks_verify(t, UINT32_MAX, text) == ERR_OK) {
		struct ready_run run;
		tasks_begin(t, 1u << 20);
		struct holder *h = tasks_holder_new(t, NULL);
		for (uint32_t queue = 1; queue <= tasks_queue_count(t); queue++)
			for (uint32_t i = 0; i < 8 && tasks_peek(t, queue, NULL, 0, &run); i++)
				tasks_lease(t, queue, run.count, h, 0, 1u << 20);
		tasks_holder_lost(t, NULL, h, 1u << 20);
	} else {
		ENSURE(text[0] != '\0');
	}
	tasks_free(t);
}

static void as_specs(struct span bytes)
{
	static struct type_info type;
	static struct schedule_info schedule;
	struct redrive_info redrive;
	struct buf again = { NULL, 0, 0 };
	char text[128] = "";
	if (type_info_decode(bytes, &type, text) == ERR_OK)
		type_info_encode(&again, &type);
	if (schedule_info_decode(bytes, &schedule, text) == ERR_OK)
		schedule_info_encode(&again, &schedule);
	if (redrive_info_decode(bytes, &redrive, text) == ERR_OK)
		redrive_info_encode(&again, &redrive);
	buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 8)
		return 0;
	uint8_t *copy = malloc(size - 7); /* 8-aligned, of its own size */
	ENSURE(copy != NULL);
	memcpy(copy, data + 8, size - 8);
	struct span bytes = { copy, size - 8 };
	if (data[0] == 253)
		as_blobs(bytes);
	else if (data[0] == 254)
		as_tasks(bytes);
	else if (data[0] == 255)
		as_redrives(bytes);
	else if (data[0] % 3 == 0)
		as_types(bytes);
	else if (data[0] % 3 == 1)
		as_schedules(bytes);
	else
		as_specs(bytes);
	free(copy);
	return 0;
}
