/* tests/simbroker/blobs.c: a client that uploads blobs, submits tasks with them, works on those itself, keeps last values and pins,
 * and checks:
 *
 *   B1 what a confirmed task, a last value or a pin refers to can be read, at any moment and after any crash
 *   B2 what is read is what was uploaded
 *   B3 after the healing, once nothing refers to anything, the broker lists no blob (and run.c finds no file)
 *
 * One thing at a time; what a cut took is asked anew. */
#include "clients.h"

#include "../../wire/sha256.h"
#include "link.h"

enum { PRODUCER = 816, ITEMS = 24, VALUES = 2, SIZE_MAX_ = 6 << 10, PIECE = 1500, RETENTION_MS = 2500, ASKS = 7 };

struct item { /* one content */
	uint32_t size, seed;
	uint8_t digest[BLOB_DIGEST_BYTES];
	bool pinned, pin_unsure;
};

enum doing { IDLE, PUTS, SENDS, ENDS, GETS, SUBMITS, PUBLISHES, PINS, UNPINS, LISTS, COMPLETES };

struct blobs_client {
	struct link link;
	struct item items[ITEMS];
	enum doing doing;
	uint32_t at;               /* the item that is worked with */
	uint32_t ticket;           /* of the upload or read */
	uint64_t number, sent, credit, got;
	bool expected;             /* GETS: it has to be there */
	bool stored;               /* `at` was stored a moment ago */
	uint64_t seq, publish;     /* of the submission, or publish, under way */
	int values[VALUES];        /* items; -1 = none, -2 = one of two */
	uint32_t value, asked_value;
	struct { bool held; struct task_ref ref; uint32_t item, result; bool read, ready; } task; /* the one in our hands */
	uint64_t open_tasks;       /* confirmed and not known to be done */
	uint64_t confirmed, done;
	bool empty;                /* the broker has no blob any more */
};

static void on_act(void *ctx);

/* ---- contents ---- */

static uint8_t byte_at(const struct item *x, uint64_t at) { return (uint8_t)(at * 7 + at / 97 + x->seed); }

static void fill(const struct item *x, uint64_t at, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = byte_at(x, at + i);
}

static void item_make(struct blobs_client *b, uint32_t index)
{
	struct item *x = &b->items[index];
	struct sha256 s;
	uint8_t bytes[SIZE_MAX_];
	x->size = (uint32_t)sim_rand_below(b->link.scene->world, SIZE_MAX_);
	x->seed = index * 11 + 3;
	fill(x, 0, bytes, x->size);
	sha256_begin(&s);
	sha256_add(&s, span_of(bytes, x->size));
	sha256_end(&s, x->digest);
}

static struct blob_ref ref_of(const struct item *x)
{
	struct blob_ref ref = { .size = x->size };
	memcpy(ref.digest, x->digest, sizeof ref.digest);
	return ref;
}

static int item_of(struct blobs_client *b, struct span payload)
{
	for (int i = 0; payload.len == BLOB_REF_BYTES && i < ITEMS; i++)
		if (memcmp(payload.data, b->items[i].digest, BLOB_DIGEST_BYTES) == 0)
			return i;
	scene_violate(b->link.scene, "B2: the name of a blob that nobody uploaded (%zu bytes)", payload.len);
	return 0;
}

/* ---- frames ---- */

static void put(struct blobs_client *b)
{
	const struct item *x = &b->items[b->at];
	struct msg m = { .kind = FRAME_BLOB_PUT };
	bool told = scene_one_in(b->link.scene, 2);
	b->doing = PUTS;
	b->ticket++;
	b->sent = b->credit = 0;
	bool unknown = scene_one_in(b->link.scene, 3) && !b->number;
	m.blob_put = (struct msg_blob_put){ .upload = b->ticket, .size = unknown ? BLOB_SIZE_UNKNOWN : x->size,
					    .number = b->number, .digest = span_of(x->digest, told ? sizeof x->digest : 0) };
	link_send(&b->link, &m, NULL, 0);
}

static void send_pieces(struct blobs_client *b)
{
	const struct item *x = &b->items[b->at];
	while (b->sent < MIN_OF(b->credit, (uint64_t)x->size)) {
		uint8_t bytes[PIECE];
		uint32_t n = (uint32_t)MIN_OF(MIN_OF(b->credit, (uint64_t)x->size) - b->sent, (uint64_t)PIECE);
		fill(x, b->sent, bytes, n);
		struct span piece = span_of(bytes, n);
		struct msg m = { .kind = FRAME_BLOB_CHUNK };
		m.blob_chunk = (struct msg_blob_chunk){ b->ticket, n, b->sent };
		link_send(&b->link, &m, &piece, 1);
		b->sent += n;
		if (scene_one_in(b->link.scene, 20))
			link_send(&b->link, &m, &piece, 1); /* twice */
	}
	if (b->sent < x->size || b->doing == ENDS)
		return;
	b->doing = ENDS;
	struct msg m = { .kind = FRAME_BLOB_END };
	m.blob_end = (struct msg_blob_end){ .upload = b->ticket, .size = x->size, .digest = span_of(x->digest, sizeof x->digest) };
	link_send(&b->link, &m, NULL, 0);
}

static void get(struct blobs_client *b, uint32_t index, bool expected)
{
	b->doing = GETS;
	b->at = index;
	b->got = 0;
	b->ticket++;
	b->expected = expected;
	struct msg m = { .kind = FRAME_BLOB_GET };
	m.blob_get = (struct msg_blob_get){ .read = b->ticket, .credit = UINT64_MAX,
					    .digest = span_of(b->items[index].digest, BLOB_DIGEST_BYTES) };
	link_send(&b->link, &m, NULL, 0);
}

static void submit(struct blobs_client *b)
{
	struct buf head = { 0 };
	const struct task_head h = { .type = span_str("sim.v1.Blob"), .payload = PAYLOAD_BLOB, .retention_ms = RETENTION_MS };
	struct blob_ref ref = ref_of(&b->items[b->at]);
	const uint32_t size = sizeof ref;
	const struct span payload = span_of(&ref, sizeof ref);
	struct msg m = { .kind = FRAME_SUBMIT };
	b->doing = SUBMITS;
	task_head_encode(&head, &h);
	m.submit = (struct msg_submit){ .producer = PRODUCER, .first_seq = b->seq, .resolved_below = b->seq, .confirm = CONFIRM_DURABLE,
					.head = buf_span(&head), .sizes = { &size, 1 } };
	link_send(&b->link, &m, &payload, 1);
	buf_free(&head);
}

/* A last value, or (item -1) its end. */
static void publish(struct blobs_client *b)
{
	struct buf head = { 0 };
	char key[8];
	bool ends = b->asked_value == ITEMS;
	(void)snprintf(key, sizeof key, "%u", b->value);
	const struct event_head h = { .type = span_str("sim.v1.Last"), .key = span_str(key), .payload = ends ? PAYLOAD_INLINE : PAYLOAD_BLOB };
	struct blob_ref ref = ref_of(&b->items[ends ? 0 : b->asked_value]);
	const uint32_t size = ends ? 0 : sizeof ref;
	const struct span payload = span_of(&ref, size);
	struct msg m = { .kind = FRAME_PUBLISH };
	b->doing = PUBLISHES;
	event_head_encode(&head, &h);
	m.publish = (struct msg_publish){ .number = b->publish, .id = { PRODUCER, b->publish }, .origin = PRODUCER, .confirm = true,
					  .retain = true, .head = buf_span(&head), .sizes = { &size, 1 } };
	link_send(&b->link, &m, &payload, size > 0);
	buf_free(&head);
}

static void request(struct blobs_client *b, enum verb verb, const struct item *x)
{
	struct buf spec = { 0 };
	struct blob_info info = { .digest = span_of(x ? x->digest : NULL, x ? sizeof x->digest : 0), .pin = span_str("sim") };
	if (x)
		blob_info_encode(&spec, &info);
	struct msg m = { .kind = FRAME_REQUEST };
	m.request.settings = QUEUE_SETTINGS_UNSET;
	m.request.verb = (uint16_t)verb;
	m.request.spec = buf_span(&spec);
	link_send_as(&b->link, &m, ASKS, NULL, 0);
	buf_free(&spec);
}

static void pin(struct blobs_client *b, bool set)
{
	b->doing = set ? PINS : UNPINS;
	b->items[b->at].pin_unsure = true;
	request(b, set ? VERB_BLOB_PIN : VERB_BLOB_UNPIN, &b->items[b->at]);
}

static void serve(struct blobs_client *b)
{
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str("sim.v1.Blob"), .credit = 1 };
	m->serve.count = 1;
	m->serve.has_held = true; /* nothing: a task is begun anew */
	link_send(&b->link, m, NULL, 0);
	free(m);
}

static void complete(struct blobs_client *b)
{
	struct blob_ref ref = ref_of(&b->items[b->task.result]);
	const struct span payload = span_of(&ref, sizeof ref);
	struct report_item item = { .ref = b->task.ref, .size = sizeof ref, .verb = REPORT_COMPLETE, .flags = REPORT_FLAG_BLOB };
	struct msg m = { .kind = FRAME_REPORT };
	b->doing = COMPLETES;
	m.report = (struct msg_report){ .items = &item, .count = 1 };
	link_send(&b->link, &m, &payload, 1);
}

static void credit(struct blobs_client *b)
{
	struct credit_item item = { 1, 1 };
	struct msg m = { .kind = FRAME_CREDIT };
	m.credit = (struct msg_credit){ .items = &item, .count = 1 };
	link_send(&b->link, &m, NULL, 0);
}

/* ---- what is done next ---- */

static uint32_t any(struct blobs_client *b) { return (uint32_t)sim_rand_below(b->link.scene->world, ITEMS); }

/* What has to be readable now: -1 = nothing that we are sure of. */
static int referenced(struct blobs_client *b)
{
	uint32_t from = any(b), value = (uint32_t)sim_rand_below(b->link.scene->world, VALUES);
	if (b->task.held)
		return (int)b->task.item;
	if (b->values[value] >= 0)
		return b->values[value];
	for (uint32_t i = 0; i < ITEMS; i++)
		if (b->items[(from + i) % ITEMS].pinned && !b->items[(from + i) % ITEMS].pin_unsure)
			return (int)((from + i) % ITEMS);
	return -1;
}

/* Of a task in our hands: read, perhaps upload a result, complete. */
static void work(struct blobs_client *b)
{
	if (!b->task.read) {
		get(b, b->task.item, true);
	} else if (!b->task.ready) {
		b->at = b->task.result;
		b->number = 0;
		put(b);
	} else {
		complete(b);
	}
}

static void begin(struct blobs_client *b)
{
	struct scene *sc = b->link.scene;
	int there = referenced(b);
	b->stored = false;
	b->number = 0;
	if (there >= 0 && scene_one_in(sc, 3)) {
		get(b, (uint32_t)there, true);
		return;
	}
	switch (sim_rand_below(sc->world, 8)) {
	case 0:
		b->value = (uint32_t)sim_rand_below(sc->world, VALUES);
		b->asked_value = ITEMS; /* the end of it */
		b->publish++;
		b->values[b->value] = -2;
		publish(b);
		return;
	case 1:
		b->at = any(b);
		if (b->items[b->at].pinned) {
			pin(b, false);
			return;
		}
		break;
	default: break;
	}
	b->at = any(b);
	put(b); /* what comes of it is decided when it is stored */
}

static void use(struct blobs_client *b)
{
	struct scene *sc = b->link.scene;
	b->stored = false;
	switch (sim_rand_below(sc->world, 5)) {
	case 0:
		b->value = (uint32_t)sim_rand_below(sc->world, VALUES);
		b->asked_value = b->at;
		b->publish++;
		b->values[b->value] = -2;
		publish(b);
		return;
	case 1: pin(b, true); return;
	case 2: b->doing = IDLE; return; /* left to itself: it is collected */
	default:
		b->seq++;
		submit(b);
	}
}

/* In peace: nothing is to refer to anything in the end. */
static void let_go(struct blobs_client *b)
{
	for (uint32_t i = 0; i < VALUES; i++)
		if (b->values[i] != -1) {
			b->value = i;
			b->asked_value = ITEMS;
			b->publish++;
			b->values[i] = -2;
			publish(b);
			return;
		}
	for (uint32_t i = 0; i < ITEMS; i++)
		if (b->items[i].pinned || b->items[i].pin_unsure) {
			b->at = i;
			pin(b, false);
			return;
		}
	b->doing = LISTS;
	request(b, VERB_BLOB_LIST, NULL);
}

static void on_act(void *ctx)
{
	struct blobs_client *b = ctx;
	struct scene *sc = b->link.scene;
	if (b->link.closing)
		return;
	if (b->link.welcome && b->doing == IDLE && !b->empty) {
		if (b->task.held)
			work(b);
		else if (b->stored && !sc->stop_submitting)
			use(b);
		else if (!sc->stop_submitting)
			begin(b);
		else
			let_go(b);
	}
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, sc->stop_submitting ? 100 : 15)), on_act, b);
}

/* ---- answers ---- */

static void on_state(struct blobs_client *b, const struct msg_blob_state *m)
{
	if (m->upload != b->ticket || (b->doing != PUTS && b->doing != SENDS && b->doing != ENDS))
		return;
	if (m->code != ERR_OK) { /* a full disk, a failed sync: another time */
		if (m->code == ERR_INVALID_INPUT || m->code == ERR_WRONG_STATE || m->code == ERR_INTEGRITY_MISMATCH)
			scene_violate(b->link.scene, "B2: an upload was refused: %s %.*s", err_name(m->code), (int)m->text.len,
				      (const char *)m->text.data);
		b->doing = IDLE;
		return;
	}
	if (m->stored) {
		if (m->size != b->items[b->at].size || memcmp(m->digest.data, b->items[b->at].digest, BLOB_DIGEST_BYTES) != 0)
			scene_violate(b->link.scene, "B2: something else was stored");
		b->doing = IDLE;
		b->stored = !b->task.held;
		b->task.ready = b->task.held;
		scene_mark(b->link.scene, MARK_BLOB_STORED);
		return;
	}
	if (b->doing == PUTS) {
		if (b->number && m->number == b->number && m->offset > 0)
			scene_mark(b->link.scene, MARK_BLOB_RESUMED);
		b->sent = m->offset;
		b->doing = SENDS;
	}
	b->number = m->number;
	b->credit = MAX_OF(b->credit, m->credit);
	send_pieces(b);
}

static void on_data(struct blobs_client *b, const struct msg_blob_data *m, struct span payload)
{
	struct scene *sc = b->link.scene;
	const struct item *x = &b->items[b->at];
	if (b->doing != GETS || m->read != b->ticket)
		return;
	if (m->code != ERR_OK) {
		bool honest = !sc->disk_fails || (sc->healed_ns > 0 && scene_now(sc) > sc->healed_ns + 2 * SIM_S);
		if (b->expected && (m->code == ERR_NOT_FOUND || (honest && m->code == ERR_DAMAGED)))
			scene_violate(sc, "B1: item %u is referred to and cannot be read: %s %.*s", b->at, err_name(m->code), (int)m->text.len,
				      (const char *)m->text.data);
		b->doing = IDLE;
		return;
	}
	for (uint32_t i = 0; i < m->size; i++)
		if (payload.data[i] != byte_at(x, b->got + i)) {
			scene_violate(sc, "B2: item %u is not what was uploaded, at byte %llu", b->at, (unsigned long long)b->got + i);
			break;
		}
	b->got += m->size;
	if (!m->end)
		return;
	if (b->got != x->size)
		scene_violate(sc, "B2: item %u has %llu bytes, not %u", b->at, (unsigned long long)b->got, x->size);
	b->doing = IDLE;
	scene_mark(sc, MARK_BLOB_READ);
	if (b->task.held && b->task.item == b->at)
		b->task.read = true;
}

static void on_deliver(struct blobs_client *b, const struct msg_deliver *m, struct span payload)
{
	b->task.held = true;
	b->task.read = false;
	b->task.ref = (struct task_ref){ m->items[0].task, m->items[0].attempt, m->epoch };
	b->task.item = (uint32_t)item_of(b, span_sub(payload, 0, m->items[0].size));
	b->task.ready = scene_one_in(b->link.scene, 2);
	b->task.result = b->task.ready ? b->task.item : any(b);
}

static void on_reported(struct blobs_client *b, const struct msg_reported *m)
{
	for (uint32_t i = 0; i < m->count && b->task.held; i++) {
		if (m->items[i].ref.task != b->task.ref.task || m->items[i].ref.attempt != b->task.ref.attempt)
			continue;
		b->doing = b->doing == COMPLETES ? IDLE : b->doing;
		if (m->items[i].code == ERR_NOT_FOUND) { /* the result's blob was collected: again; the lease is still ours */
			b->task.ready = false;
			continue;
		}
		b->done += m->items[i].code == ERR_OK;
		if (m->items[i].code == ERR_OK)
			scene_mark(b->link.scene, MARK_BLOB_RESULT);
		b->task.held = false;
		credit(b);
	}
}

static void on_reply(struct blobs_client *b, const struct msg_reply *m)
{
	struct item *x = &b->items[b->at];
	if (b->doing == LISTS) {
		b->empty = m->code == ERR_OK && m->count == 0 && m->next == 0;
		if (b->empty)
			scene_mark(b->link.scene, MARK_BLOB_NONE_LEFT);
	} else if (b->doing == PINS && m->code == ERR_OK) {
		x->pinned = true;
		x->pin_unsure = false;
	} else if (b->doing == UNPINS && (m->code == ERR_OK || m->code == ERR_NOT_FOUND)) {
		if (x->pinned && m->code == ERR_NOT_FOUND && !x->pin_unsure)
			scene_violate(b->link.scene, "B1: item %u was pinned, and the pin is not there", b->at);
		x->pinned = x->pin_unsure = false;
	} else if (b->doing == PINS && m->code == ERR_NOT_FOUND) {
		x->pin_unsure = x->pinned; /* it was collected before */
	}
	if (b->doing == PINS || b->doing == UNPINS || b->doing == LISTS)
		b->doing = IDLE;
}

static void on_confirms(struct blobs_client *b, const struct msg_confirms *m)
{
	for (uint32_t i = 0; i < m->run_count && b->doing == SUBMITS; i++)
		if (m->runs[i].first_seq == b->seq) {
			b->confirmed += m->runs[i].code == ERR_OK;
			b->doing = IDLE;
		}
}

static void on_published(struct blobs_client *b, const struct msg_published *m)
{
	for (uint32_t i = 0; i < m->count && b->doing == PUBLISHES; i++) {
		if (m->items[i].number != b->publish)
			continue;
		if (m->items[i].code == ERR_OK)
			b->values[b->value] = b->asked_value == ITEMS ? -1 : (int)b->asked_value;
		b->doing = IDLE;
	}
}

static void on_frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct blobs_client *b = owner;
	if (m->kind == FRAME_BLOB_STATE)
		on_state(b, &m->blob_state);
	else if (m->kind == FRAME_BLOB_DATA)
		on_data(b, &m->blob_data, f->payload);
	else if (m->kind == FRAME_DELIVER)
		on_deliver(b, &m->deliver, f->payload);
	else if (m->kind == FRAME_REPORTED)
		on_reported(b, &m->reported);
	else if (m->kind == FRAME_CONFIRMS)
		on_confirms(b, &m->confirms);
	else if (m->kind == FRAME_PUBLISHED)
		on_published(b, &m->published);
	else if (m->kind == FRAME_REPLY && f->correlation == ASKS)
		on_reply(b, &m->reply);
}

/* What was under way is asked for again; what was in our hands is not any more. */
static void on_up(void *owner, bool resumed)
{
	struct blobs_client *b = owner;
	bool upload = b->doing == PUTS || b->doing == SENDS || b->doing == ENDS;
	(void)resumed;
	b->task.held = false;
	serve(b);
	if (upload && b->stored == false)
		put(b);
	else if (b->doing == SUBMITS)
		submit(b);
	else if (b->doing == PUBLISHES)
		publish(b);
	else if (b->doing == PINS || b->doing == UNPINS)
		pin(b, b->doing == PINS);
	else
		b->doing = IDLE;
}

static void on_down(void *owner)
{
	struct blobs_client *b = owner;
	b->task.held = false;
}

static void *open_it(struct scene *scene)
{
	struct blobs_client *b = calloc(1, sizeof *b);
	ENSURE(b);
	b->link.up = on_up;
	b->link.down = on_down;
	b->link.frame = on_frame;
	b->values[0] = b->values[1] = -1;
	link_open(&b->link, scene, "blobs", b);
	for (uint32_t i = 0; i < ITEMS; i++)
		item_make(b, i);
	on_act(b);
	return b;
}

static bool idle(void *state)
{
	return ((const struct blobs_client *)state)->empty;
}

static const char *waits(void *state)
{
	static char text[160];
	const struct blobs_client *b = state;
	(void)snprintf(text, sizeof text, "doing %d with item %u; %llu tasks confirmed, %llu done; values %d and %d", (int)b->doing, b->at,
		       (unsigned long long)b->confirmed, (unsigned long long)b->done, b->values[0], b->values[1]);
	return text;
}

const struct workload workload_blobs = { "blobs", open_it, idle, waits };
