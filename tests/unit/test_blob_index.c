/* tests/unit/test_blob_index.c: the index of blobs against a naive one: who refers to a blob is found by asking everybody.
 *
 * Random steps of all that holds and lets go: submissions, results, yields, events to queues, last values, pins, collections; after each
 * the references of every blob, and every few a restart from checkpoint and replay. TASKS_SEED=N repeats one seed. */
#include "tasks_world.h"

#include "../../wire/sha256.h"

enum { VNETS = 2, CONTENTS = 12, TASKS_MAX = 20000, YIELDS_MAX = 4, KEYS = 3, PINS = 3, STEPS = 1500, RETENTION = 20000, KEPT = 600000 };

struct model_task {
	enum task_state state;
	int vnet, payload, result; /* contents; -1 = no blob */
	int yields[YIELDS_MAX], yield_count;
	bool held;
	uint64_t own_ms;           /* how long it asks to be kept once it is final */
	uint64_t until_ms;         /* final: when it is forgotten; 0 = not (dead letters) */
};

struct model {
	struct world *w;
	struct holder *holder;
	struct model_task tasks[TASKS_MAX];
	uint64_t end, seq, number, random, seed;
	int values[VNETS][KEYS];
	bool pins[VNETS][CONTENTS][PINS];
	uint64_t held_seen, collected, refused;
};

static uint64_t roll(struct model *m, uint64_t below)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % below;
}

static struct span vnet_name(int vnet) { return vnet ? span_str("lab") : span_of(NULL, 0); }
static const char *queue_name(int vnet) { return vnet ? "lab/q" : "q"; }

static struct blob_ref ref_of(int content)
{
	struct blob_ref ref = { .size = 100 + (uint64_t)content };
	struct sha256 s;
	sha256_begin(&s);
	sha256_add(&s, span_of(&content, sizeof content));
	sha256_end(&s, ref.digest);
	return ref;
}

static struct blob *blob_of(const struct model *m, int vnet, int content)
{
	struct blob_ref ref = ref_of(content);
	return blobs_find(tasks_blobs(m->w->t), vnet_name(vnet), ref.digest);
}

static bool usable(const struct model *m, int vnet, int content)
{
	const struct blob *b = blob_of(m, vnet, content);
	return b && !b->ending;
}

/* ---- after each step ---- */

static void forget(struct model *m)
{
	for (uint64_t i = 1; i < m->end; i++) {
		struct model_task *task = &m->tasks[i];
		if (task->until_ms && task->until_ms <= m->w->now_ms) {
			task->payload = task->result = -1;
			task->yield_count = 0;
			task->until_ms = 0;
			task->state = TASK_UNKNOWN;
		}
	}
}

static uint64_t expected(const struct model *m, int vnet, int content)
{
	uint64_t count = 0;
	for (uint64_t i = 1; i < m->end; i++) {
		const struct model_task *task = &m->tasks[i];
		if (task->vnet != vnet)
			continue;
		count += task->payload == content;
		count += task->result == content;
		for (int y = 0; y < task->yield_count; y++)
			count += task->yields[y] == content;
	}
	for (int k = 0; k < KEYS; k++)
		count += m->values[vnet][k] == content;
	return count;
}

static void check(struct model *m)
{
	for (int vnet = 0; vnet < VNETS; vnet++)
		for (int content = 0; content < CONTENTS; content++) {
			const struct blob *b = blob_of(m, vnet, content);
			uint64_t count = expected(m, vnet, content), pins = 0;
			for (int p = 0; p < PINS; p++)
				pins += m->pins[vnet][content][p];
			if (!b && count + pins > 0)
				fail_msg("seed %llu: content %d is gone, and %llu refer to it", (unsigned long long)m->seed, content,
					 (unsigned long long)(count + pins));
			if (!b)
				continue;
			if (b->references != count || b->pin_count != pins)
				fail_msg("seed %llu: content %d of vnet %d has %llu references and %u pins, expected %llu and %llu",
					 (unsigned long long)m->seed, content, vnet, (unsigned long long)b->references, b->pin_count,
					 (unsigned long long)count, (unsigned long long)pins);
			assert_int_equal(b->unreferenced_ms != 0, count + pins == 0);
			m->held_seen += count;
		}
}

/* Everything proposed is applied; time has passed for the model, too, if anything was. */
static void flush(struct model *m)
{
	bool any = m->w->applied < m->w->count;
	world_flush(m->w);
	if (any)
		forget(m);
}

/* ---- steps ---- */

static void step_add(struct model *m)
{
	int vnet = (int)roll(m, VNETS);
	struct blob_ref ref = ref_of((int)roll(m, CONTENTS));
	const struct blob *there = blobs_find(tasks_blobs(m->w->t), vnet_name(vnet), ref.digest);
	uint64_t old = there ? there->number : 0;
	bool ending = there && there->ending;
	const struct blob_add add = { ++m->number, ref.size, ref.digest, vnet_name(vnet), span_str("text/plain"), span_str("me"), 0 };
	assert_true(blobs_propose_add(LOG(m->w), &add));
	flush(m);
	assert_int_equal(m->w->affected, (old == 0 || ending) + (uint64_t)ending);
	if (old && !ending)
		assert_ptr_equal(blobs_by_number(tasks_blobs(m->w->t), old), there);
}

static struct task_head head_of(int vnet, uint8_t kind)
{
	return (struct task_head){ .type = span_str("q"), .vnet = vnet_name(vnet), .payload = kind, .retention_ms = RETENTION, .priority = 4 };
}

static void step_submit(struct model *m)
{
	int vnet = (int)roll(m, VNETS), contents[4];
	uint32_t count = 1 + (uint32_t)roll(m, 4), sizes[4];
	struct blob_ref refs[4];
	struct submit_answer answer;
	bool ok[4];
	for (uint32_t i = 0; i < count; i++) {
		contents[i] = (int)roll(m, CONTENTS);
		refs[i] = ref_of(contents[i]);
		ok[i] = usable(m, vnet, contents[i]);
		if (roll(m, 20) == 0) {
			refs[i].size++; /* of another size it is another */
			ok[i] = false;
		}
		sizes[i] = sizeof refs[i];
	}
	struct task_head head = head_of(vnet, PAYLOAD_BLOB);
	const struct msg_submit s = { .producer = 1, .first_seq = m->seq, .resolved_below = m->seq, .head = span_str("head"),
				      .sizes = { sizes, count } };
	tasks_propose_submit(m->w->t, LOG(m->w), &s, &head, span_of(refs, count * sizeof refs[0]), m->w->now_ms, &answer);
	for (uint32_t i = 0; i < answer.run_count; i++)
		for (uint32_t k = 0; k < answer.runs[i].count; k++) {
			assert_int_equal(answer.runs[i].code, ERR_NOT_FOUND);
			assert_false(ok[answer.runs[i].first_seq - m->seq + k]);
			m->refused++;
		}
	assert_true(answer.run_count == 0 || strstr(answer.text, "sha256:") != NULL);
	flush(m);
	for (uint32_t i = 0; i < m->w->run_count; i++)
		for (uint32_t k = 0; k < m->w->runs[i].count; k++) {
			uint64_t at = m->w->runs[i].first_seq - m->seq + k, task = m->w->runs[i].first_task + k;
			assert_int_equal(m->w->runs[i].code, ERR_OK);
			assert_true(ok[at] && task < TASKS_MAX);
			m->tasks[task] = (struct model_task){ .state = TASK_READY, .vnet = vnet, .payload = contents[at], .result = -1, .own_ms = RETENTION };
			m->end = task + 1;
		}
	m->seq += count;
}

static uint64_t any_task(struct model *m, bool held)
{
	for (int tries = 0; tries < 40; tries++) {
		uint64_t task = 1 + roll(m, m->end);
		if (task < m->end && m->tasks[task].state == TASK_READY && m->tasks[task].held == held)
			return task;
	}
	return 0;
}

static void step_lease(struct model *m)
{
	uint64_t got[3];
	uint32_t count = world_lease(m->w, queue_name((int)roll(m, VNETS)), m->holder, 1 + (uint32_t)roll(m, 3), got);
	for (uint32_t i = 0; i < count; i++)
		m->tasks[got[i]].held = true;
}

static enum err say(struct model *m, uint64_t task, uint8_t verb, int content, uint32_t number, uint16_t class_code)
{
	struct report_item item = world_item(m->w, task, verb);
	struct reported_item refused[1];
	uint32_t refused_count = 0;
	struct blob_ref ref = ref_of(content < 0 ? 0 : content);
	item.size = content < 0 ? 0 : sizeof ref;
	item.flags = content < 0 ? 0 : REPORT_FLAG_BLOB;
	item.app_code = number;
	item.class_code = class_code;
	const struct msg_report r = { .items = &item, .count = 1 };
	uint32_t records = tasks_propose_report(m->w->t, LOG(m->w), m->holder, &r, span_of(&ref, item.size), m->w->now_ms, refused,
						&refused_count);
	flush(m);
	if (records > 0)
		return (enum err)m->w->reported[0].code;
	return (enum err)refused[0].code;
}

/* `kept`: with its payload, for a retry by hand. */
static void over(struct model *m, uint64_t task, enum task_state state, bool kept)
{
	struct model_task *x = &m->tasks[task];
	uint64_t keep_ms = kept || x->yield_count > 0 ? MAX_OF(x->own_ms, (uint64_t)KEPT) : x->own_ms;
	x->state = state;
	x->held = false;
	x->payload = kept ? x->payload : -1;
	if (state == TASK_DEAD)
		return;
	x->until_ms = m->w->now_ms + keep_ms;
	if (keep_ms == 0)
		*x = (struct model_task){ .vnet = x->vnet, .payload = -1, .result = -1 };
}

static void step_complete(struct model *m)
{
	uint64_t task = any_task(m, true);
	if (!task)
		return;
	int content = roll(m, 4) == 0 ? -1 : (int)roll(m, CONTENTS);
	bool ok = content < 0 || usable(m, m->tasks[task].vnet, content);
	assert_int_equal(say(m, task, REPORT_COMPLETE, content, 0, 0), ok ? ERR_OK : ERR_NOT_FOUND);
	if (!ok) { /* the lease stays */
		assert_int_equal(world_state(m->w, task), TASK_LEASED);
		return;
	}
	m->tasks[task].result = content;
	over(m, task, TASK_DONE, false);
}

static void step_yield(struct model *m)
{
	uint64_t task = any_task(m, true);
	struct model_task *x = &m->tasks[task];
	if (!task || x->yield_count == YIELDS_MAX)
		return;
	int content = (int)roll(m, CONTENTS);
	bool ok = usable(m, x->vnet, content);
	assert_int_equal(say(m, task, REPORT_YIELD, content, (uint32_t)x->yield_count, 0), ok ? ERR_OK : ERR_NOT_FOUND);
	if (ok)
		x->yields[x->yield_count++] = content;
}

static void step_fail(struct model *m)
{
	uint64_t task = any_task(m, true);
	if (!task)
		return;
	bool dead = roll(m, 2) == 0;
	assert_int_equal(say(m, task, REPORT_FAIL, -1, 0, dead ? ERR_PERMANENT : ERR_INVALID_INPUT), ERR_OK);
	over(m, task, dead ? TASK_DEAD : TASK_FAILED, true);
}

static void step_cancel(struct model *m)
{
	uint64_t task = any_task(m, false);
	uint32_t records;
	char text[256];
	if (!task)
		return;
	assert_int_equal(tasks_propose_cancel(m->w->t, LOG(m->w), task, m->w->now_ms, &records, text), ERR_OK);
	flush(m);
	over(m, task, TASK_CANCELLED, true);
}

static void step_retry(struct model *m)
{
	for (uint64_t task = 1; task < m->end; task++) {
		struct model_task *x = &m->tasks[task];
		uint32_t records;
		char text[256];
		if ((x->state != TASK_DEAD && x->state != TASK_FAILED && x->state != TASK_CANCELLED) || x->payload < 0 || roll(m, 3) != 0)
			continue;
		/* what its time is over for is forgotten by the apply of this record */
		bool gone = x->until_ms && x->until_ms <= m->w->now_ms;
		assert_int_equal(tasks_propose_retry(m->w->t, LOG(m->w), task, &records, text), ERR_OK);
		flush(m);
		if (!gone)
			*x = (struct model_task){ .state = TASK_READY, .vnet = x->vnet, .payload = x->payload, .result = -1, .own_ms = x->own_ms,
						  .yield_count = x->yield_count, .yields = { x->yields[0], x->yields[1], x->yields[2], x->yields[3] } };
		return;
	}
}

static void step_purge(struct model *m)
{
	int vnet = (int)roll(m, VNETS);
	bool dead = roll(m, 2) == 0;
	if (roll(m, 10) != 0 || !world_queue(m->w, queue_name(vnet)))
		return;
	(void)world_purge(m->w, queue_name(vnet), dead);
	forget(m);
	for (uint64_t task = 1; task < m->end; task++) {
		struct model_task *x = &m->tasks[task];
		if (x->vnet != vnet || x->held)
			continue;
		if (dead && x->state == TASK_DEAD)
			*x = (struct model_task){ .payload = -1, .result = -1, .vnet = vnet };
		else if (!dead && x->state == TASK_READY)
			over(m, task, TASK_CANCELLED, false);
	}
}

/* A last value, or the end of one. */
static void step_retain(struct model *m)
{
	static const char *const keys[KEYS] = { "", "one", "two" };
	int vnet = (int)roll(m, VNETS), key = (int)roll(m, KEYS), content = roll(m, 4) == 0 ? -1 : (int)roll(m, CONTENTS);
	if (content >= 0 && !usable(m, vnet, content))
		return; /* its publisher is refused: test_shard_blobs */
	struct blob_ref ref = ref_of(MAX_OF(content, 0));
	uint8_t frame[LIMIT_FRAME_HEADER + 48] = { 1 };
	const struct event_head head = { .type = span_str("state"), .key = span_str(keys[key]), .payload = PAYLOAD_BLOB };
	assert_true(topics_propose_retain(m->w->t, LOG(m->w), vnet_name(vnet), &head, span_of(frame, content < 0 ? 0 : sizeof frame),
					  content < 0 ? span_of(NULL, 0) : span_of(&ref, sizeof ref)));
	flush(m);
	m->values[vnet][key] = content;
}

/* One record, a task in each of two queues that are fed. */
static void step_event(struct model *m)
{
	int content = (int)roll(m, CONTENTS);
	uint16_t queues[2] = { (uint16_t)world_queue(m->w, "q"), (uint16_t)world_queue(m->w, "fed") };
	if (!queues[0] || !queues[1] || !usable(m, 0, content))
		return;
	struct blob_ref ref = ref_of(content);
	uint32_t size = sizeof ref;
	const struct topics_publish p = { .queues = queues, .queue_count = 2, .head = span_str("head"), .sizes = &size, .count = 1,
					  .payload = span_of(&ref, sizeof ref), .blobs = true };
	assert_true(topics_propose_events(m->w->t, LOG(m->w), &p, m->w->now_ms));
	uint64_t first = tasks_newest(m->w->t) + 1;
	flush(m);
	for (int i = 0; i < 2; i++)
		m->tasks[first + (uint64_t)i] = (struct model_task){ .state = i ? TASK_SCHEDULED : TASK_READY, .payload = content, .result = -1 };
	m->end = first + 2;
}

static void step_pin(struct model *m)
{
	static const char *const names[PINS] = { "a", "release", "z-1" };
	int vnet = (int)roll(m, VNETS), content = (int)roll(m, CONTENTS), pin = (int)roll(m, PINS);
	struct blob *b = blob_of(m, vnet, content);
	uint32_t records;
	char text[256];
	bool set = roll(m, 2) == 0, *is = &m->pins[vnet][content][pin];
	if (!b || b->ending)
		return;
	enum err e = blobs_propose_pin(LOG(m->w), b, span_str(names[pin]), set, &records, text);
	assert_int_equal(e, set || *is ? ERR_OK : ERR_NOT_FOUND);
	assert_int_equal(records, *is != set && e == ERR_OK);
	flush(m);
	*is = set;
}

/* Sometimes something comes between a collection's proposal and its apply: a reference, or the same content again. */
static void step_collect(struct model *m)
{
	struct blob *b = blobs_idle(tasks_blobs(m->w->t), NULL, UINT64_MAX);
	for (uint64_t skip = roll(m, 4); b && skip > 0; skip--)
		b = b->idle_next ? b->idle_next : b;
	if (!b)
		return;
	uint64_t number = b->number, way = roll(m, 4);
	struct span vnet = b->vnet_size ? span_str("lab") : span_of(NULL, 0);
	uint8_t digest[BLOB_DIGEST];
	memcpy(digest, b->digest, sizeof digest);
	const struct blob_add add = { ++m->number, b->size, digest, vnet, span_str(""), span_str("you"), 0 };
	bool renewed = way == 0 && m->w->now_ms > b->unreferenced_ms;
	if (way == 0)
		assert_true(blobs_propose_add(LOG(m->w), &add));
	if (way == 1) {
		char text[256];
		assert_int_equal(blobs_propose_remove(LOG(m->w), b, text), ERR_OK);
		assert_int_equal(blobs_propose_remove(LOG(m->w), b, text), ERR_NOT_FOUND);
	} else {
		assert_true(blobs_propose_collect(LOG(m->w), b));
	}
	if (way == 2) /* behind it: a new one */
		assert_true(blobs_propose_add(LOG(m->w), &add));
	assert_true(b->ending);
	flush(m);
	assert_int_equal(blobs_by_number(tasks_blobs(m->w->t), number) != NULL, renewed);
	assert_int_equal(blobs_by_number(tasks_blobs(m->w->t), add.number) != NULL, way == 2);
	m->collected += !renewed;
}

static void step_restart(struct model *m)
{
	tasks_holder_lost(m->w->t, LOG(m->w), m->holder, m->w->now_ms);
	flush(m);
	world_restart(m->w);
	m->holder = tasks_holder_new(m->w->t, NULL);
	for (uint64_t i = 1; i < m->end; i++)
		m->tasks[i].held = false;
}

static void step(struct model *m)
{
	static void (*const steps[])(struct model *m) = {
		step_add, step_add, step_add, step_submit, step_submit, step_submit, step_lease, step_lease, step_complete, step_complete,
		step_yield, step_yield, step_fail, step_cancel, step_retry, step_purge, step_retain, step_retain, step_event, step_pin,
		step_pin, step_collect, step_collect,
	};
	m->w->now_ms += roll(m, 200);
	steps[roll(m, COUNT_OF(steps))](m);
	if (roll(m, 100) == 0)
		m->w->now_ms += roll(m, 700000);
	if (roll(m, 60) == 0)
		world_checkpoint(m->w);
	if (roll(m, 80) == 0)
		step_restart(m);
	check(m);
}

static void run(uint64_t seed)
{
	struct model *m = calloc(1, sizeof *m);
	struct order fed = { .queue = "fed", .seq = 1, .resolved_below = 1, .count = 1, .producer = 2 };
	assert_non_null(m);
	m->w = world_new();
	m->seed = seed;
	m->random = seed * 0x9e3779b97f4a7c15u + 1;
	m->end = m->seq = 1;
	for (int vnet = 0; vnet < VNETS; vnet++)
		for (int k = 0; k < KEYS; k++)
			m->values[vnet][k] = -1;
	m->holder = tasks_holder_new(m->w->t, NULL);
	uint64_t first = world_submit(m->w, &fed); /* makes the queue */
	m->tasks[first] = (struct model_task){ .state = TASK_SCHEDULED, .payload = -1, .result = -1 };
	m->end = first + 1;
	for (int i = 0; i < STEPS; i++)
		step(m);
	assert_true(m->held_seen > 1000 && m->collected > 10 && m->refused > 10);
	tasks_holder_lost(m->w->t, LOG(m->w), m->holder, m->w->now_ms);
	world_free(m->w);
	free(m);
}

static void references_are_what_everybody_says_they_are(void **state)
{
	(void)state;
	const char *one = getenv("TASKS_SEED");
	if (one) {
		run(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= 8; seed++)
		run(seed);
}

static struct blob *add_one(struct world *w, int content)
{
	struct blob_ref ref = ref_of(content);
	const struct blob_add add = { 100 + (uint64_t)content, ref.size, ref.digest, span_of(NULL, 0), span_str("m"), span_str("p"), 0 };
	assert_true(blobs_propose_add(LOG(w), &add));
	world_flush(w);
	return blobs_by_number(tasks_blobs(w->t), add.number);
}

static void a_collection_that_was_proposed_before_a_reference_counts_as_done(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct blob *b = add_one(w, 1);
	struct blob_ref ref = ref_of(1);
	struct blob *found;
	char text[256] = "";
	assert_int_equal(blobs_named(tasks_blobs(w->t), span_str("default"), span_of(&ref, sizeof ref), &found, text), ERR_OK);
	assert_true(blobs_propose_collect(LOG(w), b));
	assert_int_equal(blobs_named(tasks_blobs(w->t), span_str("default"), span_of(&ref, sizeof ref), &found, text), ERR_NOT_FOUND);
	assert_non_null(strstr(text, "sha256:"));
	world_flush(w);
	assert_null(blobs_by_number(tasks_blobs(w->t), 101));
	world_free(w);
}

/* The submission is first in the log, the collection behind it: it finds a reference. */
static void a_reference_in_front_of_a_collection_keeps_the_blob(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct blob *b = add_one(w, 1);
	struct blob_ref ref = ref_of(1);
	uint32_t size = sizeof ref;
	struct submit_answer answer;
	const struct task_head head = { .type = span_str("q"), .payload = PAYLOAD_BLOB };
	const struct msg_submit s = { .producer = 1, .first_seq = 1, .resolved_below = 1, .head = span_str("head"), .sizes = { &size, 1 } };
	tasks_propose_submit(w->t, LOG(w), &s, &head, span_of(&ref, sizeof ref), w->now_ms, &answer);
	assert_int_equal(answer.records, 1);
	assert_true(blobs_propose_collect(LOG(w), b));
	world_flush(w);
	assert_ptr_equal(blobs_by_number(tasks_blobs(w->t), 101), b);
	assert_int_equal(b->references, 1);
	assert_false(b->ending);
	world_checkpoint(w);
	world_restart(w);
	assert_int_equal(blobs_by_number(tasks_blobs(w->t), 101)->references, 1);
	world_free(w);
}

static void a_checkpoint_whose_references_name_nobody_is_damaged(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = { .queue = "q", .seq = 1, .resolved_below = 1, .count = 1 };
	char text[256] = "";
	(void)add_one(w, 1);
	(void)world_submit(w, &o);
	blobs_hold_task(tasks_blobs(w->t), BLOB_OF_RESULT, 1, blobs_by_number(tasks_blobs(w->t), 101));
	struct buf blobs = { 0 }, tasks = { 0 };
	blobs_checkpoint(tasks_blobs(w->t), &blobs);
	tasks_checkpoint(w->t, &tasks);
	struct tasks *t = tasks_new(&w->config);
	assert_int_equal(blobs_restore(tasks_blobs(t), buf_span(&blobs), text), ERR_OK);
	assert_int_equal(tasks_restore(t, buf_span(&tasks), text), ERR_OK);
	assert_int_equal(tasks_verify(t, 1, text), ERR_DAMAGED);
	assert_non_null(strstr(text, "the result of task 1"));
	tasks_free(t);
	for (size_t cut = 0; cut < blobs.len; cut += 7) {
		struct blobs *x = blobs_new(1);
		assert_int_equal(blobs_restore(x, span_of(blobs.data, cut), text), ERR_DAMAGED);
		blobs_free(x);
	}
	buf_free(&blobs);
	buf_free(&tasks);
	world_free(w);
}

static void a_list_goes_by_number_and_says_where_to_go_on(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct blob *page[5];
	uint64_t next = 0, above = 0;
	uint32_t seen = 0;
	for (int i = 0; i < 23; i++)
		(void)add_one(w, i * 7 % 23);
	do {
		uint32_t count = blobs_list(tasks_blobs(w->t), next, COUNT_OF(page), page, &next);
		for (uint32_t i = 0; i < count; i++) {
			assert_true(page[i]->number > above);
			above = page[i]->number;
		}
		seen += count;
	} while (next != 0);
	assert_int_equal(seen, 23);
	assert_int_equal(blobs_bytes_of(tasks_blobs(w->t), span_str("p")), 23 * 100 + 22 * 23 / 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(references_are_what_everybody_says_they_are),
		cmocka_unit_test(a_collection_that_was_proposed_before_a_reference_counts_as_done),
		cmocka_unit_test(a_reference_in_front_of_a_collection_keeps_the_blob),
		cmocka_unit_test(a_checkpoint_whose_references_name_nobody_is_damaged),
		cmocka_unit_test(a_list_goes_by_number_and_says_where_to_go_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
