/* tests/unit/test_codec.c: messages survive the wire, and bad ones are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../fuzz/msg_equal.h"
#include "wire_samples.h"

/* A message on the wire in a buffer of exactly its length, so that sanitizers see every byte read too far. */
struct wired {
	struct sample_space space;
	struct buf bytes;
	uint8_t *exact;
	struct frame frame;
	struct msg in, out;
	char text[128];
};

static void wire_up(struct wired *w, uint32_t correlation)
{
	size_t used = 0, need = 0;
	w->bytes.len = 0;
	msg_encode(&w->bytes, &w->in, correlation, sample_pieces,
		   sample_has_payload((uint16_t)w->in.kind) ? COUNT_OF(sample_pieces) : 0);
	free(w->exact);
	w->exact = malloc(w->bytes.len);
	assert_non_null(w->exact);
	memcpy(w->exact, w->bytes.data, w->bytes.len);
	assert_int_equal(frame_decode(span_of(w->exact, w->bytes.len), LIMIT_FRAME_BYTES, &w->frame, &used, &need,
				      w->text), ERR_OK);
	assert_int_equal(used, w->bytes.len);
}

static enum err decode(struct wired *w)
{
	w->text[0] = 0;
	return msg_decode(&w->frame, &w->out, w->text);
}

static struct wired *wired_new(uint16_t kind)
{
	struct wired *w = calloc(1, sizeof *w);
	assert_non_null(w);
	sample_message(kind, &w->in, &w->space);
	return w;
}

static void wired_free(struct wired *w)
{
	buf_free(&w->space.head);
	buf_free(&w->bytes);
	free(w->exact);
	free(w);
}

/* Encodes w->in as it is now and expects a refusal whose text starts with `text`. */
static void refused(struct wired *w, enum err code, const char *text)
{
	wire_up(w, 0);
	assert_int_equal(decode(w), code);
	if (strncmp(w->text, text, strlen(text)) != 0)
		fail_msg("got \"%s\" instead of \"%s\"", w->text, text);
}

static void test_every_kind_survives_the_wire(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		struct wired *w = wired_new(sample_kinds[i]);
		wire_up(w, 0xabcd0000u + sample_kinds[i]);
		assert_int_equal(w->frame.kind, sample_kinds[i]);
		assert_int_equal(w->frame.correlation, 0xabcd0000u + sample_kinds[i]);
		assert_int_equal(w->bytes.len % 8, 0);
		enum err e = decode(w);
		if (e != ERR_OK)
			fail_msg("%s: %s: %s", frame_kind_name(sample_kinds[i]), err_name(e), w->text);
		assert_true(msg_equal(&w->in, &w->out));
		wired_free(w);
	}
}

static void test_hot_encoders_give_the_same_as_msg_encode(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		uint16_t kind = sample_kinds[i];
		if (!sample_is_hot(kind))
			continue;
		struct wired *w = wired_new(kind);
		struct buf b = { 0 };
		wire_up(w, 0);
		if (kind == FRAME_SUBMIT)
			msg_encode_submit(&b, &w->in.submit, sample_pieces, COUNT_OF(sample_pieces));
		else if (kind == FRAME_CONFIRMS)
			msg_encode_confirms(&b, &w->in.confirms);
		else if (kind == FRAME_CREDIT)
			msg_encode_credit(&b, &w->in.credit);
		else if (kind == FRAME_DELIVER)
			msg_encode_deliver(&b, &w->in.deliver, sample_pieces, COUNT_OF(sample_pieces));
		else if (kind == FRAME_REPORT)
			msg_encode_report(&b, &w->in.report, sample_pieces, COUNT_OF(sample_pieces));
		else if (kind == FRAME_REPORTED)
			msg_encode_reported(&b, &w->in.reported);
		else if (kind == FRAME_UPDATES)
			msg_encode_updates(&b, &w->in.updates, sample_pieces, COUNT_OF(sample_pieces));
		else
			msg_encode_results(&b, &w->in.results, sample_pieces, COUNT_OF(sample_pieces));
		assert_int_equal(b.len, w->bytes.len);
		if (memcmp(b.data, w->bytes.data, b.len) != 0)
			fail_msg("%s differs", frame_kind_name(kind));
		buf_free(&b);
		wired_free(w);
	}
}

static void test_the_items_of_a_reply_come_back(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_REPLY);
	wire_up(w, 1);
	assert_int_equal(decode(w), ERR_OK);
	for (uint32_t i = 0; i < 2; i++) {
		struct task_info task;
		struct queue_info queue;
		struct worker_info worker;
		struct stat_item stat;
		msg_reply_task(&w->out.reply, i, &task);
		assert_true(task_info_equal(&task, &w->space.tasks[i]));
		msg_reply_queue(&w->out.reply, i, &queue);
		assert_true(queue_info_equal(&queue, &w->space.queues[i]));
		msg_reply_worker(&w->out.reply, i, &worker);
		assert_true(worker_info_equal(&worker, &w->space.workers[i]));
		msg_reply_stat(&w->out.reply, i, &stat);
		assert_true(span_eq(stat.name, sample_stats[i].name));
		assert_true(stat.value == sample_stats[i].value);
	}
	wired_free(w);
}

static void test_a_task_head_survives(void **state)
{
	(void)state;
	struct task_head in, out;
	struct buf b = { 0 };
	char text[128];
	sample_head(&in);
	task_head_encode(&b, &in);
	assert_int_equal(b.len % 8, 0);
	assert_int_equal(task_head_decode(buf_span(&b), &out, text), ERR_OK);
	assert_true(head_equal(&in, &out));
	buf_free(&b);
}

static void test_nothing_but_a_type_is_needed_in_a_head(void **state)
{
	(void)state;
	struct task_head in = { .type = span_str("t"), .priority = 4 }, out;
	struct buf b = { 0 };
	char text[128];
	task_head_encode(&b, &in);
	assert_int_equal(task_head_decode(buf_span(&b), &out, text), ERR_OK);
	assert_true(head_equal(&in, &out));
	assert_int_equal(out.priority, 4);
	assert_null(out.queue.data);
	buf_free(&b);
}

/* Reads a golden file. */
static struct buf golden(const char *name, const char *suffix)
{
	char path[1024];
	struct buf out = { 0 };
	unsigned byte;
	(void)snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s%s.hex", name, suffix);
	FILE *file = fopen(path, "r");
	if (!file)
		fail_msg("%s is missing: see tests/golden/README.md", path);
	while (fscanf(file, "%2x", &byte) == 1)
		*buf_extend(&out, 1) = (uint8_t)byte;
	(void)fclose(file);
	return out;
}

static void decodes_to_the_sample(const struct buf *bytes, struct wired *w)
{
	size_t used = 0, need = 0;
	assert_int_equal(frame_decode(buf_span(bytes), LIMIT_FRAME_BYTES, &w->frame, &used, &need, w->text), ERR_OK);
	assert_int_equal(used, bytes->len);
	assert_int_equal(w->frame.kind, w->in.kind);
	assert_int_equal(w->frame.correlation, SAMPLE_CORRELATION);
	assert_int_equal(decode(w), ERR_OK);
	assert_true(msg_equal(&w->in, &w->out));
}

static void test_golden_bytes_are_what_we_send_and_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		const char *name = frame_kind_name(sample_kinds[i]);
		struct wired *w = wired_new(sample_kinds[i]);
		struct buf ours = golden(name, "");
		wire_up(w, SAMPLE_CORRELATION);
		assert_int_equal(ours.len, w->bytes.len);
		assert_memory_equal(ours.data, w->bytes.data, ours.len);
		decodes_to_the_sample(&ours, w);
		buf_free(&ours);
		if (sample_is_hot(sample_kinds[i])) {
			struct buf official = golden(name, ".official");
			decodes_to_the_sample(&official, w);
			buf_free(&official);
		}
		wired_free(w);
	}
}

/* A frame whose parts are cut short, each in its own allocation of exactly that length. */
static enum err decode_cut(const struct wired *w, size_t meta, size_t payload, struct msg *out, char text[128])
{
	uint8_t *meta_copy = malloc(meta + 1), *payload_copy = malloc(payload + 1);
	assert_non_null(meta_copy);
	assert_non_null(payload_copy);
	memcpy(meta_copy, w->frame.meta.data, meta);
	memcpy(payload_copy, w->frame.payload.data, payload);
	struct frame cut = w->frame;
	cut.meta = span_of(meta_copy, meta);
	cut.payload = span_of(payload_copy, payload);
	text[0] = 0;
	enum err e = msg_decode(&cut, out, text);
	if (e == ERR_OK) /* compared here, while what it borrows is there */
		assert_true(msg_equal(&w->in, out));
	free(meta_copy);
	free(payload_copy);
	return e;
}

static void test_every_truncation_is_refused_or_says_the_same(void **state)
{
	(void)state;
	char text[128];
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		struct wired *w = wired_new(sample_kinds[i]);
		wire_up(w, 0);
		size_t meta = w->frame.meta.len, payload = w->frame.payload.len;
		for (size_t cut = 0; cut < meta; cut++) {
			enum err e = decode_cut(w, cut, payload, &w->out, text);
			/* only the padding may be missing, and a last string's zero is not padding */
			assert_true(e != ERR_OK || meta - cut < 8);
			assert_true(e == ERR_OK || text[0] != 0);
		}
		for (size_t cut = 0; cut < payload; cut++) {
			enum err e = decode_cut(w, meta, cut, &w->out, text);
			assert_true(e == (cut < 8 ? ERR_MALFORMED : ERR_OK)); /* eight bytes, and padding */
		}
		wired_free(w);
	}
}

static void test_every_changed_byte_is_survived(void **state)
{
	(void)state;
	static const uint8_t changes[] = { 0x01, 0x80, 0xff };
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		struct wired *w = wired_new(sample_kinds[i]);
		wire_up(w, 0);
		for (size_t at = LIMIT_FRAME_HEADER; at < w->bytes.len; at++) {
			for (size_t c = 0; c < COUNT_OF(changes); c++) {
				w->exact[at] ^= changes[c];
				enum err e = decode(w);
				assert_true(e == ERR_OK || w->text[0] != 0);
				bool digest_covers = sample_kinds[i] == FRAME_BLOB_CHUNK || sample_kinds[i] == FRAME_BLOB_DATA;
				if (at >= LIMIT_FRAME_HEADER + w->frame.meta.len && !digest_covers) /* payload or its padding */
					assert_true(e == ERR_INTEGRITY_MISMATCH || e == ERR_MALFORMED);
				w->exact[at] ^= changes[c];
			}
		}
		wired_free(w);
	}
}

static void test_an_unknown_kind_is_refused_by_its_number(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_PING);
	wire_up(w, 0);
	static const uint16_t kinds[] = { 0, 7, 15, 50, 63, 111, UINT16_MAX };
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		char wanted[64];
		w->frame.kind = kinds[i];
		(void)snprintf(wanted, sizeof wanted, "frame.kind: %u is not known here", (unsigned)kinds[i]);
		assert_int_equal(decode(w), ERR_UNKNOWN_KIND);
		assert_string_equal(w->text, wanted);
	}
	wired_free(w);
}

static void test_a_payload_part_where_none_belongs_is_refused(void **state)
{
	(void)state;
	static const uint8_t zeros[8];
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		struct wired *w = wired_new(sample_kinds[i]);
		wire_up(w, 0);
		if (!sample_has_payload(sample_kinds[i])) {
			w->frame.payload = span_of(zeros, sizeof zeros);
			assert_int_equal(decode(w), ERR_MALFORMED);
			assert_non_null(strstr(w->text, "without a payload part"));
		}
		wired_free(w);
	}
}

static void test_a_wrong_checksum_is_an_integrity_mismatch(void **state)
{
	(void)state;
	static const uint16_t kinds[] = { FRAME_SUBMIT, FRAME_DELIVER, FRAME_REPORT, FRAME_RESULTS };
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct wired *w = wired_new(kinds[i]);
		wire_up(w, 0);
		w->exact[LIMIT_FRAME_HEADER + w->frame.meta.len + 1] ^= 0x10;
		assert_int_equal(decode(w), ERR_INTEGRITY_MISMATCH);
		wired_free(w);
	}
}

static void test_bad_submissions_are_refused_by_field(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_SUBMIT);
	struct msg_submit good = w->in.submit;
	w->in.submit.producer = 0;
	refused(w, ERR_INVALID_INPUT, "SUBMIT.producer: 0 is not allowed");
	w->in.submit = good;
	w->in.submit.first_seq = 0;
	refused(w, ERR_INVALID_INPUT, "SUBMIT.first_seq: 0 is out of range");
	w->in.submit.first_seq = UINT64_MAX - 2;
	refused(w, ERR_INVALID_INPUT, "SUBMIT.first_seq");
	w->in.submit.first_seq = UINT64_MAX - 3;
	wire_up(w, 0);
	assert_int_equal(decode(w), ERR_OK);
	w->in.submit = good;
	w->in.submit.confirm = 3;
	refused(w, ERR_INVALID_INPUT, "SUBMIT.confirm (item 0): 3 is not one of its values");
	w->in.submit = good;
	w->in.submit.head = span_of("12345678901234567890", 16);
	refused(w, ERR_MALFORMED, "TaskHead: ");
	w->in.submit.head = span_of(NULL, 0);
	refused(w, ERR_MALFORMED, "TaskHead: ");
	wired_free(w);
}

static void test_a_payload_over_the_limit_is_refused_by_its_index(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_SUBMIT);
	static uint8_t large[LIMIT_PAYLOAD_BYTES + 1];
	struct span pieces[3] = { sample_pieces[0], span_of(large, sizeof large), sample_pieces[2] };
	uint32_t sizes[3] = { 5, sizeof large, 3 };
	size_t used = 0, need = 0;
	w->in.submit.sizes.at = sizes;
	msg_encode(&w->bytes, &w->in, 0, pieces, 3);
	assert_int_equal(frame_decode(buf_span(&w->bytes), LIMIT_FRAME_BYTES, &w->frame, &used, &need, w->text),
			 ERR_OK);
	assert_int_equal(decode(w), ERR_TOO_BIG);
	assert_string_equal(w->text, "SUBMIT.sizes[1]: 1048577 bytes is over the limit of 1048576");
	w->bytes.len = 0;
	pieces[1].len--;
	sizes[1]--;
	msg_encode(&w->bytes, &w->in, 0, pieces, 3);
	assert_int_equal(frame_decode(buf_span(&w->bytes), LIMIT_FRAME_BYTES, &w->frame, &used, &need, w->text),
			 ERR_OK);
	assert_int_equal(decode(w), ERR_OK);
	wired_free(w);
}

/* Encodes a SUBMIT with `head` and expects a refusal. */
static void test_a_head_that_comes_after_others_survives_at_any_alignment(void **state)
{
	(void)state;
	const uint64_t after[3] = { 1, 1ull << 40, 7 };
	const uint32_t back[2] = { 1, 256 };
	struct task_head in = { .type = span_str("t"), .priority = 4, .after = span_of(after, sizeof after),
				.after_back = span_of(back, sizeof back), .on_failure = ON_FAILURE_RUN, .group = span_str("g"),
				.after_group = span_str("h"), .group_size = 9 }, out;
	struct buf b = { 0 };
	char text[128];
	task_head_encode(&b, &in);
	for (size_t shift = 0; shift < 8; shift += 4) {
		uint8_t *copy = malloc(b.len + 8);
		memcpy(copy + shift, b.data, b.len);
		assert_int_equal(task_head_decode(span_of(copy + shift, b.len), &out, text), ERR_OK);
		assert_true(head_equal(&in, &out));
		free(copy);
	}
	buf_free(&b);
}

static void test_a_group_survives(void **state)
{
	(void)state;
	const struct group_info in = { span_str("g"), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, true };
	struct group_info out;
	struct buf b = { 0 };
	char text[128];
	group_info_encode(&b, &in);
	assert_int_equal(group_info_decode(buf_span(&b), &out, text), ERR_OK);
	assert_true(span_eq(in.name, out.name));
	assert_memory_equal(&in.members, &out.members, offsetof(struct group_info, cancelled_whole) - offsetof(struct group_info, members));
	assert_int_equal(in.cancelled_whole, out.cancelled_whole);
	assert_int_equal(group_info_decode(span_of(b.data, b.len / 2), &out, text), ERR_MALFORMED);
	buf_free(&b);
}

static void head_refused(const struct task_head *head, enum err code, const char *text)
{
	struct wired *w = wired_new(FRAME_SUBMIT);
	struct buf bytes = { 0 };
	task_head_encode(&bytes, head);
	w->in.submit.head = buf_span(&bytes);
	refused(w, code, text);
	buf_free(&bytes);
	wired_free(w);
}

static void test_bad_heads_are_refused_by_field(void **state)
{
	(void)state;
	static char longer[LIMIT_TEXT_BYTES + 2];
	struct task_head good, head;
	memset(longer, 'x', sizeof longer - 1);
	struct span over_name = span_of(longer, LIMIT_NAME_BYTES + 1);
	sample_head(&good);
#define REFUSED(change, code, text)                 \
	do {                                        \
		head = good;                        \
		change;                             \
		head_refused(&head, code, text);    \
	} while (0)
	REFUSED(head.type = span_str(""), ERR_INVALID_INPUT, "TaskHead.type: empty");
	REFUSED(head.type = over_name, ERR_TOO_BIG, "TaskHead.type: 256 bytes are over the limit of 255");
	REFUSED(head.queue = over_name, ERR_TOO_BIG, "TaskHead.queue: ");
	REFUSED(head.key = over_name, ERR_TOO_BIG, "TaskHead.key: ");
	REFUSED(head.trace = over_name, ERR_TOO_BIG, "TaskHead.trace: ");
	REFUSED(head.correlation = over_name, ERR_TOO_BIG, "TaskHead.correlation: ");
	REFUSED(head.priority = 32, ERR_INVALID_INPUT, "TaskHead.priority: 32 is over the limit of 31");
	REFUSED(head.headers[0].name = span_str(""), ERR_INVALID_INPUT, "TaskHead.headers.name: empty");
	REFUSED(head.headers[1].name = over_name, ERR_TOO_BIG, "TaskHead.headers.name: ");
	REFUSED(head.headers[1].value = span_str(longer), ERR_TOO_BIG, "TaskHead.headers.value: ");
	REFUSED(head.key = span_str("k"), ERR_INVALID_INPUT, "SUBMIT.head: a key is for one task, not for 3");
	static const uint8_t zeros[1025 * 8];
	static const uint32_t far = 257;
	REFUSED(head.after = span_of(zeros, sizeof zeros), ERR_TOO_BIG, "TaskHead.after: ");
	REFUSED(head.after_back = span_of(zeros, 4), ERR_INVALID_INPUT, "TaskHead.after_back: 0 is not in 1..256");
	REFUSED(head.after_back = span_of(&far, 4), ERR_INVALID_INPUT, "TaskHead.after_back: 257 is not in 1..256");
	REFUSED(head.on_failure = 2, ERR_INVALID_INPUT, "TaskHead.on_failure: 2 is not one of its values");
	REFUSED(head.group = over_name, ERR_TOO_BIG, "TaskHead.group: ");
	REFUSED(head.group_size = 2, ERR_INVALID_INPUT, "TaskHead.group_size: belongs to an after_group");
	REFUSED(head.after_group = span_str("g"), ERR_INVALID_INPUT, "TaskHead.after_group: does not go together with an ordering key");
	good.order_key = span_str("");
	REFUSED(head.after_group = span_str("g"), ERR_INVALID_INPUT, "SUBMIT.head: a group has one callback, not 3");
	REFUSED((head.after_group = span_str("g"), head.group = span_str("g")), ERR_INVALID_INPUT, "TaskHead.after_group: a task cannot be");
#undef REFUSED
}

static void test_a_head_over_its_limit_is_too_big(void **state)
{
	(void)state;
	static const uint8_t bytes[LIMIT_HEAD_BYTES + 1];
	struct task_head out;
	char text[128] = "";
	assert_int_equal(task_head_decode(span_of(bytes, sizeof bytes), &out, text), ERR_TOO_BIG);
	assert_string_equal(text, "TaskHead: 16385 bytes are over the limit of 16384");
}

static void test_bad_entries_are_refused_by_index(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_SERVE);
	w->in.serve.entries[1].id = w->in.serve.entries[0].id;
	refused(w, ERR_INVALID_INPUT, "SERVE.entries[1].id: 1 is used by entry 0 as well");
	w->in.serve.entries[1].id = 2;
	w->in.serve.entries[1].credit = LIMIT_ENTRY_CREDIT + 1;
	refused(w, ERR_TOO_BIG, "SERVE.entries[1].credit: 65537 is over the limit of 65536");
	w->in.serve.entries[1].credit = 0;
	w->in.serve.entries[1].service = span_str("");
	refused(w, ERR_INVALID_INPUT, "SERVE.entries[1].service: empty");
	w->in.serve.count = 0; /* serving nothing is allowed */
	wire_up(w, 0);
	assert_int_equal(decode(w), ERR_OK);
	for (uint32_t i = 0; i < LIMIT_SESSION_ENTRIES; i++)
		w->in.serve.entries[i] = (struct wire_entry){ .id = i, .service = span_str("s") };
	w->in.serve.count = LIMIT_SESSION_ENTRIES;
	wire_up(w, 0);
	assert_int_equal(decode(w), ERR_OK);
	wired_free(w);
}

static void test_bad_calls_and_bindings_are_refused_by_field(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_CALL);
	w->in.call.session = 7;
	refused(w, ERR_INVALID_INPUT, "CALL: needs one of service, session (an address) and binding");
	w->in.call.session = 0;
	w->in.call.deadline_ms = 0;
	refused(w, ERR_INVALID_INPUT, "CALL.deadline_ms: 0 is not within 1 and 86400000");
	w->in.call.deadline_ms = 1;
	w->in.call.first = 0;
	refused(w, ERR_INVALID_INPUT, "CALL.first: 0, or too near to the end of numbers");
	wired_free(w);
	w = wired_new(FRAME_BIND);
	w->in.bind.min = 3;
	refused(w, ERR_INVALID_INPUT, "BIND: desired must be within 1 and 64, and min not above it");
	wired_free(w);
	w = wired_new(FRAME_CHANGES);
	w->in.changes.items[1].kind = CHANGE_KINDS;
	refused(w, ERR_INVALID_INPUT, "CHANGES.items.kind (item 1): 4 is not one of its values");
	wired_free(w);
}

static void test_bad_items_of_workers_are_refused_by_index(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_CREDIT);
	struct credit_item credit[2] = { { 1, 0 }, { 1, LIMIT_ENTRY_CREDIT + 1 } };
	w->in.credit.items = credit;
	refused(w, ERR_TOO_BIG, "CREDIT.items[1].credit: 65537 is over the limit of 65536");
	wired_free(w);

	w = wired_new(FRAME_REPORT);
	struct report_item items[3];
	memcpy(items, sample_reports, sizeof items);
	w->in.report.items = items;
	items[2].verb = REPORT_NONE;
	refused(w, ERR_INVALID_INPUT, "REPORT.items.verb (item 2): 0 is not one of its values");
	items[2].verb = REPORT_LAST + 1;
	refused(w, ERR_INVALID_INPUT, "REPORT.items.verb (item 2): 13 is not one of its values");
	items[2].verb = REPORT_START; /* carries nothing, yet its size says three bytes */
	refused(w, ERR_TOO_BIG, "REPORT.items[2]: 3 bytes is over the limit of 0");
	wired_free(w);
}

static void test_a_refusal_says_how_long_to_wait_in_every_frame_that_can_be_one(void **state)
{
	static const uint16_t kinds[] = { FRAME_ERROR, FRAME_CONFIRMS, FRAME_REPORTED, FRAME_PUBLISHED, FRAME_REPLY };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		struct wired *w = wired_new(kinds[i]);
		const struct { uint16_t kind; uint32_t *in, *out; } field[] = {
			{ FRAME_ERROR, &w->in.error.retry_after_ms, &w->out.error.retry_after_ms },
			{ FRAME_CONFIRMS, &w->in.confirms.retry_after_ms, &w->out.confirms.retry_after_ms },
			{ FRAME_REPORTED, &w->in.reported.retry_after_ms, &w->out.reported.retry_after_ms },
			{ FRAME_PUBLISHED, &w->in.published.retry_after_ms, &w->out.published.retry_after_ms },
			{ FRAME_REPLY, &w->in.reply.retry_after_ms, &w->out.reply.retry_after_ms },
		};
		assert_int_equal(field[i].kind, kinds[i]);
		*field[i].in = 1234;
		wire_up(w, 1);
		assert_int_equal(decode(w), ERR_OK);
		assert_int_equal(*field[i].out, 1234);
		assert_true(msg_equal(&w->in, &w->out));
		if (kinds[i] == FRAME_CONFIRMS)
			w->in.confirms.text = span_of(NULL, 0);
		else if (kinds[i] == FRAME_REPORTED)
			w->in.reported.text = span_of(NULL, 0);
		wire_up(w, 1);
		assert_int_equal(decode(w), ERR_OK);
		assert_int_equal(*field[i].out, 1234);
		wired_free(w);
	}
	assert_true(err_retry_after_ms(ERR_RESOURCE_EXHAUSTED) > 0 && err_retry_after_ms(ERR_QUEUE_FULL) > 0 &&
		    err_retry_after_ms(ERR_DISK_FULL) > 0 && err_retry_after_ms(ERR_PERMISSION) == 0);
}

static void test_bad_items_from_a_broker_are_refused_by_index(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_CONFIRMS);
	struct confirm_run runs[3];
	memcpy(runs, sample_runs, sizeof runs);
	w->in.confirms.runs = runs;
	runs[1].count = 0;
	refused(w, ERR_INVALID_INPUT, "CONFIRMS.runs.count (item 1)");
	runs[1].count = 1;
	runs[1].level = 3;
	refused(w, ERR_INVALID_INPUT, "CONFIRMS.runs.level (item 1)");
	runs[1].level = 0;
	runs[2].duplicate = 2;
	refused(w, ERR_INVALID_INPUT, "CONFIRMS.runs.duplicate (item 2)");
	runs[2].duplicate = 0;
	runs[0].first_seq = 0;
	refused(w, ERR_INVALID_INPUT, "CONFIRMS.runs[0]: first_seq");
	wired_free(w);

	w = wired_new(FRAME_RESULTS);
	struct result_item results[3];
	memcpy(results, sample_results, sizeof results);
	w->in.results.items = results;
	results[1].state = TASK_STATES;
	refused(w, ERR_INVALID_INPUT, "RESULTS.items.state (item 1): 11");
	wired_free(w);

	w = wired_new(FRAME_SIGNALS);
	struct signal_item signals[3];
	memcpy(signals, sample_signals, sizeof signals);
	w->in.signals.items = signals;
	signals[0].signal = SIGNAL_NONE;
	refused(w, ERR_INVALID_INPUT, "SIGNALS.items.signal (item 0): 0");
	signals[0].signal = SIGNAL_LAST + 1;
	refused(w, ERR_INVALID_INPUT, "SIGNALS.items.signal (item 0): 10");
	wired_free(w);
}

static void test_bad_requests_are_refused_by_field(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_REQUEST);
	w->in.request.verb = VERB_NONE;
	refused(w, ERR_INVALID_INPUT, "REQUEST.verb: missing");
	w->in.request.verb = 999;
	refused(w, ERR_UNSUPPORTED, "REQUEST.verb: 999 is not known here");
	w->in.request.verb = VERB_STATS;
	w->in.request.state = TASK_STATES;
	refused(w, ERR_INVALID_INPUT, "REQUEST.state: 11 is not one of its values");
	w->in.request.state = 0;
	w->in.request.settings.expires_ms = -2;
	refused(w, ERR_INVALID_INPUT, "REQUEST.settings: field 5 is below -1");
	wired_free(w);
}

static void test_a_session_id_has_sixteen_bytes_and_a_version(void **state)
{
	(void)state;
	struct wired *w = wired_new(FRAME_HELLO);
	wire_up(w, 0);
	for (size_t at = LIMIT_FRAME_HEADER; at + 20 <= w->bytes.len; at += 4) {
		uint32_t length;
		memcpy(&length, w->exact + at, 4);
		if (length != 16 || memcmp(w->exact + at + 4, w->in.hello.session, 16) != 0)
			continue;
		w->exact[at] = 15;
		assert_int_equal(decode(w), ERR_INVALID_INPUT);
		assert_string_equal(w->text, "HELLO.session: 15 bytes instead of 16");
		w->exact[at] = 16;
	}
	assert_int_equal(decode(w), ERR_OK);
	static const uint8_t versions[] = { 3, 0, 0, 0, 1, 0, 2, 0 };
	bool found = false;
	for (size_t at = LIMIT_FRAME_HEADER; at + 8 <= w->bytes.len && !found; at += 4)
		if (memcmp(w->exact + at, versions, 8) == 0) {
			w->exact[at] = 0;
			found = true;
		}
	assert_true(found);
	assert_int_equal(decode(w), ERR_INVALID_INPUT);
	assert_string_equal(w->text, "HELLO.versions: empty");
	wired_free(w);
}

static void test_too_many_items_are_refused(void **state)
{
	(void)state;
	/* AWAIT by hand, as the encoder refuses to: root, vtable of one field, table, vector of 64-bit numbers */
	enum { COUNT = LIMIT_FRAME_ITEMS + 1 };
	static uint64_t meta[4 + COUNT];
	static const uint32_t start[] = { 12, 6 | 8 << 16, 4, 8, 4, 0, 0, 0 };
	uint32_t count = COUNT;
	memcpy(meta, start, sizeof start);
	uint32_t *words = (uint32_t *)meta;
	words[4] = 12; /* the vector's length is at 28, its items at 32 */
	words[7] = count;
	struct frame frame = { .kind = FRAME_AWAIT, .meta = span_of(meta, sizeof meta) };
	struct msg out;
	char text[128] = "";
	assert_int_equal(msg_decode(&frame, &out, text), ERR_TOO_BIG);
	assert_string_equal(text, "AWAIT.tasks: 16385 items are over the limit of 16384");
	words[7] = count - 1;
	assert_int_equal(msg_decode(&frame, &out, text), ERR_OK);
	assert_int_equal(out.tasks.tasks.count, LIMIT_FRAME_ITEMS);
}

static void test_a_vector_off_its_alignment_is_refused(void **state)
{
	(void)state;
	static const uint32_t words[] = { 12, 6 | 8 << 16, 4, 8, 4, 1, 7, 0 }; /* the item is at 24, then at 28 */
	uint32_t moved[] = { 12, 6 | 8 << 16, 4, 8, 8, 0, 1, 7, 0, 0 };
	uint64_t meta[5] = { 0 };
	struct frame frame = { .kind = FRAME_AWAIT, .meta = span_of(meta, sizeof words) };
	struct msg out;
	char text[128] = "";
	memcpy(meta, words, sizeof words);
	assert_int_equal(msg_decode(&frame, &out, text), ERR_OK);
	assert_int_equal(out.tasks.tasks.at[0], 7);
	memcpy(meta, moved, sizeof moved);
	frame.meta.len = sizeof moved;
	assert_int_equal(msg_decode(&frame, &out, text), ERR_MALFORMED);
	assert_string_equal(text, "AWAIT.tasks: the vector is not aligned to its items");
}

/* A REPLY by hand whose `count` stats are one and the same table: small on the wire, large to whoever walks it. */
static enum err decode_shared_stats(uint32_t count, char text[128])
{
	static const uint16_t vtable[] = { 20, 8, 0, 0, 0, 0, 0, 0, 0, 4 }, stat_vtable[] = { 6, 8, 4 };
	struct { uint32_t root; uint16_t vtable[10]; int32_t table; uint32_t stats; } start = { .root = 24, .table = 20 };
	struct { uint16_t vtable[3], pad; int32_t table; uint32_t name, length; char text[4]; } stat = {
		.table = 8, .name = 4, .length = 1, .text = "n" };
	struct buf b = { 0 };
	memcpy(start.vtable, vtable, sizeof vtable);
	memcpy(stat.vtable, stat_vtable, sizeof stat_vtable);
	start.stats = 4;
	buf_append(&b, &start, sizeof start);
	buf_append(&b, &count, sizeof count);
	size_t table = b.len + 4u * (size_t)count + 8;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t offset = (uint32_t)(table - b.len);
		buf_append(&b, &offset, sizeof offset);
	}
	buf_append(&b, &stat, sizeof stat);
	struct frame frame = { .kind = FRAME_REPLY, .meta = buf_span(&b) };
	struct msg out;
	enum err e = msg_decode(&frame, &out, text);
	if (e == ERR_OK) {
		struct stat_item item;
		assert_int_equal(out.reply.stat_count, count);
		msg_reply_stat(&out.reply, count - 1, &item);
		assert_true(span_eq(item.name, span_str("n")));
	}
	buf_free(&b);
	return e;
}

static void test_one_table_named_too_often_is_refused(void **state)
{
	(void)state;
	char text[128] = "";
	assert_int_equal(decode_shared_stats(LIMIT_FB_TABLES - 1, text), ERR_OK);
	assert_int_equal(decode_shared_stats(LIMIT_FB_TABLES, text), ERR_MALFORMED);
	assert_string_equal(text, "REPLY: the meta part is not a valid FlatBuffer of its table");
}

static void test_task_states_have_names(void **state)
{
	(void)state;
	assert_string_equal(task_state_name(TASK_READY), "ready");
	assert_string_equal(task_state_name(TASK_DEAD), "dead");
	assert_string_equal(task_state_name(TASK_STATES), "unknown");
	assert_string_equal(task_state_name(UINT32_MAX), "unknown");
	for (uint32_t i = 0; i < TASK_STATES; i++)
		assert_non_null(task_state_name(i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_survives_the_wire),
		cmocka_unit_test(test_hot_encoders_give_the_same_as_msg_encode),
		cmocka_unit_test(test_the_items_of_a_reply_come_back),
		cmocka_unit_test(test_a_task_head_survives),
		cmocka_unit_test(test_a_head_that_comes_after_others_survives_at_any_alignment),
		cmocka_unit_test(test_a_group_survives),
		cmocka_unit_test(test_nothing_but_a_type_is_needed_in_a_head),
		cmocka_unit_test(test_golden_bytes_are_what_we_send_and_read),
		cmocka_unit_test(test_every_truncation_is_refused_or_says_the_same),
		cmocka_unit_test(test_every_changed_byte_is_survived),
		cmocka_unit_test(test_an_unknown_kind_is_refused_by_its_number),
		cmocka_unit_test(test_a_payload_part_where_none_belongs_is_refused),
		cmocka_unit_test(test_a_wrong_checksum_is_an_integrity_mismatch),
		cmocka_unit_test(test_bad_submissions_are_refused_by_field),
		cmocka_unit_test(test_a_payload_over_the_limit_is_refused_by_its_index),
		cmocka_unit_test(test_bad_heads_are_refused_by_field),
		cmocka_unit_test(test_a_head_over_its_limit_is_too_big),
		cmocka_unit_test(test_bad_entries_are_refused_by_index),
		cmocka_unit_test(test_bad_calls_and_bindings_are_refused_by_field),
		cmocka_unit_test(test_bad_items_of_workers_are_refused_by_index),
		cmocka_unit_test(test_a_refusal_says_how_long_to_wait_in_every_frame_that_can_be_one),
		cmocka_unit_test(test_bad_items_from_a_broker_are_refused_by_index),
		cmocka_unit_test(test_bad_requests_are_refused_by_field),
		cmocka_unit_test(test_a_session_id_has_sixteen_bytes_and_a_version),
		cmocka_unit_test(test_too_many_items_are_refused),
		cmocka_unit_test(test_a_vector_off_its_alignment_is_refused),
		cmocka_unit_test(test_one_table_named_too_often_is_refused),
		cmocka_unit_test(test_task_states_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
