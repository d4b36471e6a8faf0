/* clientlib/producer.c: submissions, from the call to the confirm. In the flow: hlk_submit -> PRODUCER -> link.out, and
 * CONFIRMS -> PRODUCER -> callback.
 *
 * 1. A task has a sequence number of this producer from the moment hlk_submit takes it; its bytes, head and number never
 *    change, and they are sent in every connection until there is an answer. The broker tells repeats by the number.
 * 2. Every callback runs exactly once: `resolved` of its slot is set before it is called.
 * 3. A frame goes to the connection when that has room for it and not before: most of it then goes from here to the socket. Until then
 *    what else the client has to say overtakes it.
 * 4. Submissions that are part of a task go before any report that was made after them: they are refused once it is not held any more.
 * 5. What is too big for a frame goes up first (producer_spill.c); its frame keeps its place, and those behind it wait.
 * 6. next_seq - resolved_below never exceeds the window, so a slot is free when its number comes round. */
#include "blob_impl.h"

#include "../wire/predicate.h"

/* ---- heads ---- */

static struct span optional(const char *text)
{
	return span_str(text);
}

static const char *too_long(const struct hlk_submit_options *o)
{
	const struct { const char *name, *value; size_t max; } checks[] = {
		{ "type", o->type, LIMIT_NAME_BYTES }, { "queue", o->queue, LIMIT_NAME_BYTES },
		{ "key", o->key, LIMIT_KEY_BYTES }, { "trace", o->trace, LIMIT_NAME_BYTES },
		{ "correlation", o->correlation, LIMIT_NAME_BYTES },
		{ "requirements", o->requirements, LIMIT_PREDICATE_BYTES }, { "worker", o->worker, LIMIT_NAME_BYTES },
		{ "order_key", o->order_key, LIMIT_KEY_BYTES },
		{ "hot", o->hot, LIMIT_NAME_BYTES }, { "sticky", o->sticky, LIMIT_KEY_BYTES },
		{ "group", o->group, LIMIT_NAME_BYTES }, { "after_group", o->after_group, LIMIT_NAME_BYTES },
	};
	for (size_t i = 0; i < COUNT_OF(checks); i++)
		if (checks[i].value && strlen(checks[i].value) > checks[i].max)
			return checks[i].name;
	for (size_t i = 0; i < o->header_count && i < LIMIT_HEADERS; i++)
		if (strlen(o->headers[i].name) > LIMIT_NAME_BYTES || !*o->headers[i].name ||
		    strlen(o->headers[i].value) > LIMIT_TEXT_BYTES)
			return "headers";
	return NULL;
}

/* Those it has, and that the worker is a certain one. The caller frees it. */
static struct buf requirements_of(const struct hlk_submit_options *o)
{
	const struct param_value worker = { .kind = PARAM_STRING, .string = optional(o->worker) };
	bool more = o->requirements && *o->requirements;
	struct buf out = { NULL, 0, 0 };
	if (worker.string.len > 0) {
		buf_append(&out, PARAMS_IDENTITY " == ", strlen(PARAMS_IDENTITY " == "));
		value_print(&worker, &out);
		buf_append(&out, " && (", more ? 5 : 0);
	}
	if (more)
		buf_append(&out, o->requirements, strlen(o->requirements));
	buf_append(&out, ")", more && worker.string.len > 0);
	return out;
}

/* What the broker would refuse, with the same words, before it gets there. */
static bool requirements_good(const struct hlk_submit_options *o, struct hlk_error *error)
{
	struct buf packed = { NULL, 0, 0 }, source = requirements_of(o);
	char text[128] = "";
	enum err e = predicate_parse(optional(o->requirements), &packed, text); /* as they were said: positions are those */
	if (e == ERR_OK && o->worker)
		e = predicate_parse(buf_span(&source), &packed, text);
	buf_free(&packed);
	buf_free(&source);
	if (e != ERR_OK)
		error_fill(error, (int)e, "submit: requirements: %s", text);
	return e == ERR_OK;
}

static bool after_good(const struct hlk_submit_options *o, struct hlk_error *error)
{
	bool callback = o->after_group && *o->after_group;
	bool far = false;
	for (size_t i = 0; i < o->after_back_count && i < LIMIT_AFTER; i++)
		far = far || o->after_back[i] == 0 || o->after_back[i] > LIMIT_AFTER_BACK;
	if (o->after_count > LIMIT_AFTER || o->after_back_count > LIMIT_AFTER)
		error_fill(error, HLK_TOO_BIG, "submit: after, after_back: more than %d tasks", LIMIT_AFTER);
	else if (far)
		error_fill(error, HLK_INVALID_INPUT, "submit: after_back: not in 1..%d", LIMIT_AFTER_BACK);
	else if (o->group_size > 0 && !callback)
		error_fill(error, HLK_INVALID_INPUT, "submit: group_size belongs to an after_group");
	else if (callback && o->group && strcmp(o->group, o->after_group) == 0)
		error_fill(error, HLK_INVALID_INPUT, "submit: a task cannot be a member of the group it waits for");
	else if (callback && o->order_key && *o->order_key)
		error_fill(error, HLK_INVALID_INPUT, "submit: after_group does not go together with an order_key");
	else
		return true;
	return false;
}

static bool options_good(const struct hlk_submit_options *o, struct hlk_error *error)
{
	const char *field = too_long(o);
	if (!o->type || !*o->type)
		error_fill(error, HLK_INVALID_INPUT, "submit: a task needs a type");
	else if (field)
		error_fill(error, HLK_TOO_BIG, "submit: %s is empty or too long", field);
	else if (o->priority < 0 || o->priority > LIMIT_PRIORITY + 1)
		error_fill(error, HLK_INVALID_INPUT, "submit: priority %d is not in 1..32", o->priority);
	else if (o->header_count > LIMIT_HEADERS)
		error_fill(error, HLK_TOO_BIG, "submit: %zu headers are over the limit of %d", o->header_count, LIMIT_HEADERS);
	else if (o->max_attempts > UINT16_MAX)
		error_fill(error, HLK_INVALID_INPUT, "submit: max_attempts %u is over 65535", o->max_attempts);
	else if (o->never_again && o->again)
		error_fill(error, HLK_INVALID_INPUT, "submit: never_again and again exclude each other");
	else if ((unsigned)o->confirm > HLK_CONFIRM_NONE)
		error_fill(error, HLK_INVALID_INPUT, "submit: confirm %u is unknown", (unsigned)o->confirm);
	else
		return after_good(o, error) && requirements_good(o, error);
	return false;
}

static void encode_head(struct hlk_head *head, const struct hlk_submit_options *o)
{
	struct buf requirements = requirements_of(o);
	struct task_head t = {
		.type = span_str(o->type), .queue = optional(o->queue), .key = optional(o->key),
		.trace = optional(o->trace), .correlation = optional(o->correlation), .fingerprint = o->fingerprint,
		.delay_ms = o->delay_ms, .expires_ms = o->expires_ms, .execution_ms = o->execution_ms,
		.retention_ms = o->retention_ms, .max_attempts = (uint16_t)o->max_attempts,
		.priority = o->priority ? (uint8_t)(o->priority - 1) : 4, .want_result = o->want_result || o->want_updates,
		.want_updates = o->want_updates, .parent = o->parent, .heartbeat_ms = o->heartbeat_ms, .close_ms = o->close_ms,
		.redelivery = o->never_again ? REDELIVERY_NEVER : o->again ? REDELIVERY_SAFE : REDELIVERY_DEFAULT,
		.header_count = (uint32_t)o->header_count,
		.requirements = buf_span(&requirements), .order_key = optional(o->order_key),
		.hot = optional(o->hot), .sticky = optional(o->sticky),
		.after = span_of(o->after, o->after_count * sizeof *o->after),
		.after_back = span_of(o->after_back, o->after_back_count * sizeof *o->after_back),
		.group = optional(o->group), .after_group = optional(o->after_group), .group_size = o->group_size,
		.on_failure = o->run_on_failure ? ON_FAILURE_RUN : ON_FAILURE_CANCEL, .fail_fast = o->fail_fast,
	};
	for (size_t i = 0; i < o->header_count; i++)
		t.headers[i] = (struct task_header){ span_str(o->headers[i].name), span_str(o->headers[i].value) };
	task_head_encode(&head->bytes, &t);
	buf_free(&requirements);
}

struct hlk_head *hlk_head_new(const struct hlk_submit_options *options, struct hlk_error *error)
{
	if (error)
		*error = (struct hlk_error){ 0 };
	if (!options_good(options, error))
		return NULL;
	struct hlk_head *head = calloc(1, sizeof *head);
	ENSURE(head != NULL);
	atomic_init(&head->refs, 1);
	head->confirm = options->confirm;
	head->child = options->parent != 0;
	head->alone = (options->key && *options->key) || (options->after_group && *options->after_group);
	for (size_t i = 0; i < options->after_back_count; i++)
		head->reach = MAX_OF(head->reach, options->after_back[i]);
	head->want_result = options->want_result || options->want_updates;
	head->want_updates = options->want_updates;
	encode_head(head, options);
	if (head->bytes.len <= LIMIT_HEAD_BYTES)
		return head;
	error_fill(error, HLK_TOO_BIG, "submit: the head has %zu bytes, over the limit of %d", head->bytes.len,
		   LIMIT_HEAD_BYTES);
	hlk_head_free(head);
	return NULL;
}

void hlk_head_free(struct hlk_head *head)
{
	if (!head || atomic_fetch_sub(&head->refs, 1) != 1)
		return;
	buf_free(&head->bytes);
	free(head);
}

/* ---- frames ---- */

static struct submit_frame *frame_new(struct producer *p)
{
	struct submit_frame *f = p->spare;
	if (f) {
		struct buf bytes = f->bytes;
		p->spare = f->next;
		p->spare_count--;
		*f = (struct submit_frame){ .bytes = bytes };
		f->bytes.len = 0;
		return f;
	}
	f = calloc(1, sizeof *f);
	ENSURE(f != NULL);
	return f;
}

/* Spare frames for as many as are under way: memory that is given back and asked for again is cleared by the kernel each time. */
static void spares_trim(struct producer *p)
{
	while (p->spare_count > MAX_OF(p->frame_count, 16u)) {
		struct submit_frame *f = p->spare;
		p->spare = f->next;
		p->spare_count--;
		buf_free(&f->bytes);
		free(f);
	}
}

static void frame_free(struct hlk *c, struct submit_frame *f)
{
	struct producer *p = &c->producer;
	*(f->prev ? &f->prev->next : &p->first) = f->next;
	*(f->next ? &f->next->prev : &p->last) = f->prev;
	if (p->cursor == f)
		p->cursor = f->next;
	if (p->unsent == f)
		p->unsent = f->next;
	p->frame_count--;
	p->held_count -= f->held;
	producer_spill_free(c, f);
	hlk_head_free(f->head);
	f->head = NULL;
	if (f->bytes.cap > 2 * BATCH_BYTES) {
		buf_free(&f->bytes);
		free(f);
		return;
	}
	f->next = p->spare;
	p->spare = f;
	p->spare_count++;
	spares_trim(p);
}

static void queue_frame(struct hlk *c, struct submit_frame *f)
{
	f->queued = true;
	net_queue(c, buf_span(&f->bytes));
	f->end = c->link.queued_total;
}

bool producer_more(struct hlk *c)
{
	struct producer *p = &c->producer;
	bool any = false;
	while (p->unsent && !p->unsent->held && net_ready(c) && !net_full(c)) {
		struct submit_frame *f = p->unsent;
		p->unsent = f->next;
		queue_frame(c, f);
		any = true;
	}
	return any;
}

/* Encodes tasks of one head, and puts the frame behind the others. */
static void encode(struct hlk *c, struct submit_frame *f, struct span head, struct u32s sizes, struct span payload)
{
	struct producer *p = &c->producer;
	uint64_t below = p->resolved_below > p->reach ? p->resolved_below - p->reach : 1;
	p->told_below = MAX_OF(p->told_below, below);
	const struct msg_submit m = { .producer = p->id, .first_seq = f->first_seq, .resolved_below = below,
				      .confirm = (uint8_t)f->confirm, .head = head, .sizes = sizes };
	f->bytes.len = 0;
	msg_encode_submit(&f->bytes, &m, &payload, 1);
	f->correlation = client_correlation(c);
	frame_set_correlation(&f->bytes, 0, f->correlation);
}

/* Takes over one reference to the head. */
static struct submit_frame *frame_add(struct producer *p, struct hlk_head *head, uint64_t first_seq, uint32_t count)
{
	struct submit_frame *f = frame_new(p);
	f->head = head;
	f->first_seq = first_seq;
	f->count = f->unresolved = count;
	f->confirm = head->confirm;
	f->want_result = head->want_result;
	f->want_updates = head->want_updates;
	f->child = head->child;
	p->children = p->children || head->child;
	f->prev = p->last;
	*(p->last ? &p->last->next : &p->first) = f;
	p->last = f;
	p->frame_count++;
	p->none_frames += f->confirm == HLK_CONFIRM_NONE;
	return f;
}

static void add_unsent(struct hlk *c, struct submit_frame *f)
{
	if (net_ready(c) && !c->producer.unsent)
		c->producer.unsent = f;
}

/* Turns the collected batch into a frame. */
static void seal(struct hlk *c)
{
	struct producer *p = &c->producer;
	struct hlk_head *head = p->head;
	struct submit_frame *f = frame_add(p, head, p->batch_seq, p->batch_count);
	encode(c, f, buf_span(&head->bytes), (struct u32s){ p->sizes, p->batch_count }, buf_span(&p->payload));
	p->head = NULL;
	p->batch_count = 0;
	p->payload.len = 0;
	add_unsent(c, f);
	(void)producer_more(c);
}

void producer_children(struct hlk *c)
{
	struct producer *p = &c->producer;
	struct submit_frame *last = NULL;
	if (p->head && p->head->child)
		seal(c);
	if (!p->unsent || !p->children || !net_ready(c))
		return;
	for (struct submit_frame *f = p->unsent; f && !f->held; f = f->next) /* reports wait for those behind one that is held */
		if (f->child)
			last = f;
	while (last) {
		struct submit_frame *f = p->unsent;
		p->unsent = f->next;
		queue_frame(c, f);
		last = f == last ? NULL : last;
	}
}

void producer_flush(struct hlk *c)
{
	if (c->producer.head)
		seal(c);
}

static void prepare_slots(struct producer *p)
{
	uint32_t count = 64;
	while (count < p->window)
		count *= 2;
	p->mask = count - 1;
	p->slots = calloc(count, sizeof *p->slots);
	p->resolved = calloc(count, 1);
	p->sizes = calloc(BATCH_TASKS, sizeof *p->sizes);
	ENSURE(p->slots && p->resolved && p->sizes);
}

int producer_check(struct hlk *c, const struct hlk_head *head)
{
	struct producer *p = &c->producer;
	if (c->closing)
		return error_set(c, HLK_CLOSED, "submit: the client is being closed");
	if (head->reach && p->next_seq < MAX_OF(p->told_below, 1u) + head->reach)
		return error_set(c, HLK_WRONG_STATE, "submit: after_back: what was submitted %u before is not there, or let go: name its id",
				 head->reach);
	p->reach = MAX_OF(p->reach, head->reach);
	if (p->next_seq - p->resolved_below >= MIN_OF(p->window_now, (uint32_t)LIMIT_PRODUCER_WINDOW - p->reach))
		return error_set(c, HLK_AGAIN, "submit: %u submissions are unconfirmed", p->window_now);
	if (!p->slots)
		prepare_slots(p);
	return HLK_OK;
}

static uint64_t take_seq(struct producer *p, hlk_submit_fn *fn, void *ctx)
{
	uint64_t seq = p->next_seq++;
	p->slots[seq & p->mask] = (struct slot){ fn, ctx };
	p->resolved[seq & p->mask] = false;
	p->unresolved++;
	return seq;
}

struct submit_frame *producer_frame(struct hlk *c, struct hlk_head *head, hlk_submit_fn *fn, void *ctx)
{
	struct producer *p = &c->producer;
	producer_flush(c);
	atomic_fetch_add(&head->refs, 1);
	struct submit_frame *f = frame_add(p, head, take_seq(p, fn, ctx), 1);
	f->held = true;
	p->held_count++;
	add_unsent(c, f);
	return f;
}

void producer_ready(struct hlk *c, struct submit_frame *f, struct span head, struct span payload)
{
	const uint32_t size = (uint32_t)payload.len;
	encode(c, f, head, (struct u32s){ &size, 1 }, payload);
	c->producer.held_count -= f->held;
	f->held = false;
	if (f->queued && net_ready(c))
		queue_frame(c, f); /* those behind it are on their way already */
	else
		(void)producer_more(c);
	report_spill_drain(c);
}

int hlk_submit(struct hlk *c, struct hlk_head *head, const void *payload, size_t size, hlk_submit_fn *fn, void *ctx)
{
	struct producer *p = &c->producer;
	int code = producer_check(c, head);
	if (code != HLK_OK)
		return code;
	if (spill_needed(c, size, atomic_load_explicit(&head->above, memory_order_relaxed)))
		return producer_spill(c, head, payload, size, fn, ctx);
	if (size > c->session.payload_max)
		return error_set(c, HLK_TOO_BIG, "submit: payload of %zu bytes is over the limit of %u", size,
				 c->session.payload_max);
	size_t batch_max = MIN_OF((size_t)BATCH_BYTES, (size_t)c->session.frame_payload_max);
	if (p->head && (p->head != head || p->payload.len + size > batch_max))
		seal(c);
	if (!p->head) {
		atomic_fetch_add(&head->refs, 1);
		p->head = head;
		p->batch_seq = p->next_seq;
	}
	(void)take_seq(p, fn, ctx);
	p->sizes[p->batch_count++] = (uint32_t)size;
	buf_append(&p->payload, payload, size);
	if (p->batch_count == BATCH_TASKS || head->alone)
		seal(c);
	return HLK_OK;
}

/* ---- answers ---- */

static struct submit_frame *find_frame(struct producer *p, uint64_t seq)
{
	struct submit_frame *f = p->cursor;
	if (!f || seq < f->first_seq)
		f = p->first;
	while (f && seq >= f->first_seq + f->count)
		f = f->next;
	if (!f || seq < f->first_seq)
		return NULL;
	p->cursor = f;
	return f;
}

/* The one place where a submission ends. */
static void resolve(struct hlk *c, struct submit_frame *f, uint64_t seq, const struct hlk_confirmed *answer)
{
	struct producer *p = &c->producer;
	uint32_t at = (uint32_t)(seq & p->mask);
	struct slot slot = p->slots[at];
	if (p->resolved[at])
		return;
	p->resolved[at] = true;
	p->unresolved--;
	while (p->resolved_below < p->next_seq && p->resolved[p->resolved_below & p->mask])
		p->resolved_below++;
	if (f->want_result && answer->code == HLK_OK && answer->task && c->blobs.shapes)
		shape_expect(c, f->head, answer->task);
	if (f->want_result && answer->code == HLK_OK && answer->task)
		results_expect(c, answer->task, answer->duplicate, f->want_updates);
	else if (f->want_result && f->confirm == HLK_CONFIRM_NONE)
		c->results.blind = true;
	if (--f->unresolved == 0) {
		p->none_frames -= f->confirm == HLK_CONFIRM_NONE;
		frame_free(c, f);
	}
	if (slot.fn)
		slot.fn(c, answer, slot.ctx);
}

void producer_confirms(struct hlk *c, const struct msg_confirms *m)
{
	struct producer *p = &c->producer;
	bool first_refusal = true;
	if (m->producer != p->id)
		return;
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct confirm_run run = m->runs[i];
		struct hlk_confirmed answer = { .code = run.code, .duplicate = run.duplicate,
						.level = (enum hlk_confirm)run.level, .text = err_text(run.code) };
		char text[256];
		if (run.code != ERR_OK && first_refusal && m->text.len > 0) {
			(void)snprintf(text, sizeof text, "%.*s", (int)MIN_OF(m->text.len, 255u), (const char *)m->text.data);
			answer.text = text;
		}
		first_refusal = first_refusal && run.code == ERR_OK;
		uint64_t end = MIN_OF(run.first_seq + run.count, p->next_seq);
		for (uint64_t seq = MAX_OF(run.first_seq, p->resolved_below); seq < end; seq++) {
			struct submit_frame *f = find_frame(p, seq);
			if (!f || f->held)
				continue; /* it had its answer before, or has not left yet */
			if (run.code != ERR_OK && producer_spill_again(c, f, seq, &run))
				continue;
			answer.task = run.code == ERR_OK ? run.first_task + (seq - run.first_seq) : 0;
			resolve(c, f, seq, &answer);
		}
	}
}

void producer_answer(struct hlk *c, struct submit_frame *f, uint64_t seq, const struct hlk_confirmed *answer)
{
	resolve(c, f, seq, answer);
}

static void resolve_frame(struct hlk *c, struct submit_frame *f, const struct hlk_confirmed *answer)
{
	uint64_t end = f->first_seq + f->count;
	for (uint64_t seq = f->first_seq; seq < end; seq++) {
		struct submit_frame *still = find_frame(&c->producer, seq);
		if (still)
			resolve(c, still, seq, answer);
	}
}

bool producer_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct submit_frame *f = c->producer.first;
	while (f && f->correlation != correlation)
		f = f->next;
	if (!f)
		return false;
	char why[256];
	(void)snprintf(why, sizeof why, "%.*s", (int)MIN_OF(text.len, 255u), (const char *)text.data);
	const struct hlk_confirmed answer = { .code = code, .text = why };
	resolve_frame(c, f, &answer);
	return true;
}

void producer_written(struct hlk *c)
{
	const struct hlk_confirmed answer = { .code = HLK_OK, .level = HLK_CONFIRM_NONE, .text = "" };
	struct producer *p = &c->producer;
	for (struct submit_frame *f = p->none_frames ? p->first : NULL, *next; f; f = next) {
		next = f->next;
		if (f->confirm == HLK_CONFIRM_NONE && f->queued && f->end <= c->link.sent_total)
			resolve_frame(c, f, &answer); /* a callback may append, behind `next` or as the new last */
	}
}

void producer_up(struct hlk *c)
{
	c->producer.unsent = c->producer.first;
}

void producer_down(struct hlk *c)
{
	c->producer.unsent = NULL; /* all of them, once there is a connection: producer_up */
	for (struct submit_frame *f = c->producer.first; f; f = f->next)
		f->queued = false;
}

void producer_close(struct hlk *c, bool tell)
{
	struct producer *p = &c->producer;
	const struct hlk_confirmed answer = { .code = HLK_CLOSED, .text = err_text(HLK_CLOSED) };
	producer_flush(c);
	while (p->first)
		resolve_frame(c, p->first, &answer);
	if (tell)
		return;
	for (struct submit_frame *f = p->spare, *next; f; f = next) {
		next = f->next;
		buf_free(&f->bytes);
		free(f);
	}
	free(p->slots);
	free(p->resolved);
	free(p->sizes);
	buf_free(&p->payload);
}

uint32_t hlk_unconfirmed(const struct hlk *c)
{
	return c->producer.unresolved;
}

/* ---- the blocking form ---- */

struct waited { bool done, duplicate; int code; uint64_t task; char text[256]; };

static void waited_confirm(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx)
{
	struct waited *w = ctx;
	(void)c;
	w->done = true;
	w->code = confirmed->code;
	w->task = confirmed->task;
	w->duplicate = confirmed->duplicate;
	(void)snprintf(w->text, sizeof w->text, "%s", confirmed->text);
}

/* The caller gives up: the submission itself goes on, but nobody may write to his stack any more. */
static void abandon(struct hlk *c, void *ctx)
{
	struct producer *p = &c->producer;
	for (uint64_t seq = p->resolved_below; seq < p->next_seq; seq++)
		if (!p->resolved[seq & p->mask] && p->slots[seq & p->mask].ctx == ctx)
			p->slots[seq & p->mask].fn = NULL;
}

int hlk_submit_wait(struct hlk *c, const struct hlk_submit_options *options, const void *payload, size_t size,
		    int timeout_ms, uint64_t *task_out, bool *duplicate_out)
{
	const struct hlk_payload bytes = { .kind = HLK_INLINE, .size = size, .data = payload };
	return hlk_submit_payload_wait(c, options, &bytes, timeout_ms, task_out, duplicate_out);
}

int hlk_submit_payload_wait(struct hlk *c, const struct hlk_submit_options *options, const struct hlk_payload *payload,
			    int timeout_ms, uint64_t *task_out, bool *duplicate_out)
{
	int code = client_may_block(c);
	if (code != HLK_OK)
		return code;
	struct hlk_head *head = hlk_head_new(options, &c->error);
	if (!head)
		return c->error.code;
	struct waited w = { .done = false };
	int64_t deadline = client_deadline(c, timeout_ms);
	while ((code = hlk_submit_payload(c, head, payload, waited_confirm, &w)) == HLK_AGAIN)
		if ((code = client_wait(c, deadline)) != HLK_OK)
			break;
	hlk_head_free(head);
	if (code != HLK_OK)
		return code;
	while (!w.done && code == HLK_OK)
		code = client_wait(c, deadline);
	if (!w.done) {
		abandon(c, &w);
		return code;
	}
	if (w.code != HLK_OK)
		return error_set(c, w.code, "submit %s: %s", options->type, w.text);
	if (task_out)
		*task_out = w.task;
	if (duplicate_out)
		*duplicate_out = w.duplicate;
	return HLK_OK;
}
