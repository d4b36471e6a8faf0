/* The client library's blobs against a broker that does as the test says: cuts in the middle, lies, limits, refusals. */
#include <fcntl.h>
#include <sys/stat.h>

#include "client_world.h"
#include "../../wire/sha256.h"

enum { ABOVE = 1000, CHUNK = 64 << 10, BIG = 300000 };

struct told { uint32_t count; int code; char text[512]; struct hlk_blob blob; bool known; size_t size; uint8_t first; };

static void on_done(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct told *told = ctx;
	(void)c;
	told->count++;
	told->code = done->code;
	told->blob = done->blob;
	told->known = done->known;
	told->size = done->size;
	told->first = done->size ? *(const uint8_t *)done->data : 0;
	(void)snprintf(told->text, sizeof told->text, "%s", done->text);
}

static void welcome_blobs(struct broker *b, struct hlk *c, bool resumed)
{
	hear(b, c, FRAME_HELLO);
	const struct msg msg = { .kind = FRAME_WELCOME, .welcome = { .version = 1, .epoch = 1, .resumed = resumed, .heartbeat_ms = 60000,
		.payload_max = 100000, .frame_payload_max = 1 << 20, .window_max = 4096, .blob_above = ABOVE, .blob_chunk = CHUNK,
		.blob_max = 1 << 30 } };
	say(b, &msg, 0, NULL);
	UNTIL(c, hlk_connected(c));
}

static uint8_t *content(size_t size)
{
	uint8_t *out = malloc(size + 1);
	assert_non_null(out);
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)(i * 131 + (i >> 9));
	return out;
}

static struct hlk_blob name_of(const void *data, size_t size)
{
	struct hlk_blob blob;
	const struct hlk_blob_source source = { .data = data, .size = size };
	assert_int_equal(hlk_blob_name(&source, &blob, NULL), HLK_OK);
	return blob;
}

static void state(struct broker *b, uint32_t upload, uint64_t number, uint64_t offset, uint64_t credit)
{
	const struct msg msg = { .kind = FRAME_BLOB_STATE,
				 .blob_state = { .upload = upload, .number = number, .offset = offset, .credit = credit } };
	say(b, &msg, 0, NULL);
}

static void stored(struct broker *b, uint32_t upload, const struct hlk_blob *blob)
{
	const struct msg msg = { .kind = FRAME_BLOB_STATE, .blob_state = { .upload = upload, .stored = true, .size = blob->size,
		.digest = span_of(blob->digest, sizeof blob->digest) } };
	say(b, &msg, 0, NULL);
}

static void failed(struct broker *b, uint32_t upload, enum err code, const char *text)
{
	const struct msg msg = { .kind = FRAME_BLOB_STATE, .blob_state = { .upload = upload, .code = (uint16_t)code, .text = span_str(text) } };
	say(b, &msg, 0, NULL);
}

static void data(struct broker *b, uint32_t read, uint64_t offset, struct span bytes, uint64_t total, bool end)
{
	struct buf out = { 0 };
	const struct msg_blob_data m = { .read = read, .offset = offset, .size = (uint32_t)bytes.len, .total = total, .end = end };
	msg_encode_blob_data(&out, &m, &bytes, 1);
	send_bytes(b, buf_span(&out));
	buf_free(&out);
}

/* Takes chunks that are as they should be up to `until`, never beyond what was allowed. */
static void take_chunks(struct broker *b, struct hlk *c, const uint8_t *want, uint64_t from, uint64_t until)
{
	while (from < until) {
		hear(b, c, FRAME_BLOB_CHUNK);
		const struct msg_blob_chunk chunk = b->msg.blob_chunk;
		assert_int_equal(chunk.offset, from);
		assert_true(chunk.size > 0 && chunk.size <= CHUNK && chunk.offset + chunk.size <= until);
		assert_memory_equal(b->frame.payload.data, want + from, chunk.size);
		from += chunk.size;
	}
}

static void end_heard(struct broker *b, struct hlk *c, const struct hlk_blob *blob)
{
	hear(b, c, FRAME_BLOB_END);
	assert_int_equal(b->msg.blob_end.size, blob->size);
	assert_memory_equal(b->msg.blob_end.digest.data, blob->digest, sizeof blob->digest);
}

/* ---- uploads ---- */

static void test_an_upload_never_goes_beyond_the_credit(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_source source = { .data = bytes, .size = BIG, .media_type = "image/png" };
	struct told told = { 0 };
	uint64_t credit = 1;
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	uint32_t upload = b->msg.blob_put.upload;
	assert_memory_equal(b->msg.blob_put.digest.data, blob.digest, sizeof blob.digest);
	assert_true(span_eq(b->msg.blob_put.media_type, span_str("image/png")));
	for (uint64_t from = 0; from < BIG; from = credit, credit = MIN_OF(credit * 3 + 5, (uint64_t)BIG)) {
		state(b, upload, 7, from, credit);
		take_chunks(b, c, bytes, from, credit);
		for (int i = 0; i < 3; i++)
			assert_int_equal(hlk_run(c, 1), HLK_OK);
		if (credit < BIG)
			assert_false(next_frame(b));
	}
	end_heard(b, c, &blob);
	stored(b, upload, &blob);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_OK);
	assert_false(told.known);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_content_that_the_broker_has_is_not_sent(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_source source = { .data = bytes, .size = BIG };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	stored(b, b->msg.blob_put.upload, &blob);
	UNTIL(c, told.count == 1);
	assert_true(told.code == HLK_OK && told.known);
	assert_false(next_frame(b));
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_an_upload_that_was_cut_goes_on_where_the_broker_is(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_source source = { .data = bytes, .size = BIG };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.number, 0);
	state(b, b->msg.blob_put.upload, 99, 0, 200000);
	take_chunks(b, c, bytes, 0, 200000);
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.number, 99);
	state(b, b->msg.blob_put.upload, 99, 123456, BIG); /* this much had arrived */
	take_chunks(b, c, bytes, 123456, BIG);
	end_heard(b, c, &blob);
	broker_cut(b); /* and it is stored, but the answer is lost; the broker was restarted */
	welcome_blobs(b, c, false);
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.number, 0);
	stored(b, b->msg.blob_put.upload, &blob);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_OK);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_an_upload_that_the_broker_has_let_go_of_begins_again(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_source source = { .data = bytes, .size = BIG };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	state(b, b->msg.blob_put.upload, 99, 0, 70000);
	take_chunks(b, c, bytes, 0, 70000);
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_BLOB_PUT);
	failed(b, b->msg.blob_put.upload, ERR_NOT_FOUND, "no upload 99");
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.number, 0);
	state(b, b->msg.blob_put.upload, 100, 0, BIG);
	take_chunks(b, c, bytes, 0, BIG);
	end_heard(b, c, &blob);
	stored(b, b->msg.blob_end.upload, &blob);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_OK);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

struct stream { const uint8_t *bytes; uint64_t size, at; bool rewinds; };

static int64_t stream_read(void *ctx, uint64_t offset, void *out, size_t room)
{
	struct stream *s = ctx;
	if (offset != s->at && !s->rewinds)
		return -1;
	size_t size = (size_t)MIN_OF((uint64_t)MIN_OF(room, (size_t)10000), s->size - offset);
	memcpy(out, s->bytes + offset, size);
	s->at = offset + size;
	return (int64_t)size;
}

static void stream_is_cut(bool rewinds)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	struct stream stream = { bytes, BIG, 0, rewinds };
	const struct hlk_blob_source source = { .read = stream_read, .read_ctx = &stream };
	struct told told = { 0 };
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	assert_true(b->msg.blob_put.size == BLOB_SIZE_UNKNOWN && b->msg.blob_put.digest.len == 0);
	state(b, b->msg.blob_put.upload, 5, 0, 100000);
	take_chunks(b, c, bytes, 0, 100000);
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_BLOB_PUT);
	uint32_t upload = b->msg.blob_put.upload;
	state(b, upload, 5, 60000, BIG + 100);
	if (rewinds) {
		take_chunks(b, c, bytes, 60000, BIG);
		end_heard(b, c, &blob); /* the digest is of all of it, though a part was read twice */
		stored(b, upload, &blob);
	}
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, rewinds ? HLK_OK : HLK_TRANSIENT);
	if (!rewinds) {
		assert_string_equal(told.text, "the connection was cut, and the stream cannot go back to byte 60000");
		hear(b, c, FRAME_BLOB_END);
		assert_true(b->msg.blob_end.abandon);
	}
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_stream_that_can_go_back_survives_a_cut(void **test)
{
	(void)test;
	stream_is_cut(true);
}

static void test_a_stream_that_cannot_go_back_ends_with_transient(void **test)
{
	(void)test;
	stream_is_cut(false);
}

static void test_a_broker_that_stored_something_else_is_not_believed(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob other = name_of(bytes, BIG - 1);
	const struct hlk_blob_source source = { .data = bytes, .size = BIG };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_put(c, &source, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	stored(b, b->msg.blob_put.upload, &other);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_INTEGRITY_MISMATCH);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_four_uploads_are_under_way_and_the_fifth_waits_until_one_is_cancelled(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	const struct hlk_blob_source source = { .data = "same", .size = 4 };
	struct told told = { 0 };
	uint32_t first = 0;
	(void)test;
	welcome_blobs(b, c, false);
	for (int i = 0; i < 5; i++)
		assert_int_equal(hlk_blob_put(c, &source, on_done, &told, i ? NULL : &first), HLK_OK);
	for (int i = 0; i < 4; i++)
		hear(b, c, FRAME_BLOB_PUT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hlk_run(c, 1), HLK_OK);
	assert_false(next_frame(b));
	assert_int_equal(hlk_blob_cancel(c, first), HLK_OK);
	hear(b, c, FRAME_BLOB_END);
	assert_true(b->msg.blob_end.abandon);
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(told.code, HLK_CANCELLED);
	hlk_close(c, 0);
	assert_int_equal(told.count, 5);
	broker_free(b);
}

/* ---- downloads ---- */

static void test_a_download_that_was_cut_goes_on_and_is_checked_as_a_whole(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_sink sink = { .window = 100000 };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_get(c, blob.digest, &sink, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_GET);
	assert_true(b->msg.blob_get.offset == 0 && b->msg.blob_get.credit == 100000);
	uint32_t read = b->msg.blob_get.read;
	data(b, read, 0, span_of(bytes, 60000), BIG, false);
	hear(b, c, FRAME_BLOB_MORE);
	assert_int_equal(b->msg.blob_more.credit, 160000);
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_BLOB_GET);
	assert_true(b->msg.blob_get.offset == 60000 && b->msg.blob_get.credit == 160000);
	read = b->msg.blob_get.read;
	uint64_t credit = 160000;
	for (uint64_t at = 60000; at < BIG;) {
		uint64_t until = MIN_OF(MIN_OF(credit, at + CHUNK), (uint64_t)BIG);
		data(b, read, at, span_of(bytes + at, (size_t)(until - at)), BIG, until == BIG);
		at = until;
		while (at < BIG && credit - at < 50000) {
			hear(b, c, FRAME_BLOB_MORE);
			credit = b->msg.blob_more.credit;
		}
	}
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_OK);
	assert_int_equal(told.size, BIG);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_what_does_not_have_the_digest_becomes_no_file_and_the_broker_is_told(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	char path[64], part[80];
	(void)snprintf(path, sizeof path, "/tmp/test_client_blobs.%d", (int)getpid());
	(void)snprintf(part, sizeof part, "%s.part", path);
	const struct hlk_blob blob = name_of("what was asked for", 18);
	const struct hlk_blob_sink sink = { .path = path };
	struct told told = { 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_get(c, blob.digest, &sink, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_GET);
	data(b, b->msg.blob_get.read, 0, span_of("what was not asked", 18), 18, true);
	hear(b, c, FRAME_BLOB_MORE);
	assert_true(b->msg.blob_more.damaged);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_INTEGRITY_MISMATCH);
	assert_true(access(path, F_OK) != 0 && access(part, F_OK) != 0);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_what_an_earlier_program_left_is_kept_and_where_it_was_wrong_fetched_anew(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	char path[64], part[80];
	(void)snprintf(path, sizeof path, "/tmp/test_client_blobs.%d", (int)getpid());
	(void)snprintf(part, sizeof part, "%s.part", path);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_sink sink = { .path = path, .resume = true };
	struct told told = { 0 };
	(void)test;
	int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	assert_true(fd >= 0 && write(fd, bytes + 1, 100000) == 100000); /* as if of another file */
	(void)close(fd);
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_get(c, blob.digest, &sink, on_done, &told, NULL), HLK_OK);
	hear(b, c, FRAME_BLOB_GET);
	assert_int_equal(b->msg.blob_get.offset, 100000);
	data(b, b->msg.blob_get.read, 100000, span_of(bytes + 100000, 200000), BIG, true);
	hear(b, c, FRAME_BLOB_GET);
	assert_int_equal(b->msg.blob_get.offset, 0);
	data(b, b->msg.blob_get.read, 0, span_of(bytes, 200000), BIG, false);
	data(b, b->msg.blob_get.read, 200000, span_of(bytes + 200000, 100000), BIG, true);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_OK);
	struct stat st;
	assert_true(stat(path, &st) == 0 && st.st_size == BIG && access(part, F_OK) != 0);
	assert_int_equal(unlink(path), 0);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_broker_that_sends_beyond_the_credit_loses_the_connection(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint8_t *bytes = content(BIG);
	const struct hlk_blob blob = name_of(bytes, BIG);
	const struct hlk_blob_sink sink = { .window = 1000, .manual_credit = true };
	struct told told = { 0 };
	uint32_t id = 0;
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_blob_get(c, blob.digest, &sink, on_done, &told, &id), HLK_OK);
	hear(b, c, FRAME_BLOB_GET);
	assert_int_equal(b->msg.blob_get.credit, 1000);
	assert_int_equal(hlk_blob_more(c, id, 500), HLK_OK);
	hear(b, c, FRAME_BLOB_MORE);
	assert_int_equal(b->msg.blob_more.credit, 1500);
	data(b, b->msg.blob_more.read, 0, span_of(bytes, 1501), BIG, false);
	UNTIL(c, !hlk_connected(c));
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_BLOB_GET);
	const struct msg no = { .kind = FRAME_BLOB_DATA, .blob_data = { .read = b->msg.blob_get.read, .code = ERR_DAMAGED,
								       .text = span_str("sector 7 cannot be read") } };
	say(b, &no, 0, NULL);
	UNTIL(c, told.count == 1);
	assert_int_equal(told.code, HLK_DAMAGED);
	assert_string_equal(told.text, "sector 7 cannot be read");
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

/* ---- spill-over ---- */

static struct hlk_head *plain_head(void)
{
	const struct hlk_submit_options o = { .type = "t.X" };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	assert_non_null(head);
	return head;
}

static uint8_t submitted_kind(struct broker *b)
{
	struct task_head head;
	char text[128];
	assert_int_equal(task_head_decode(b->msg.submit.head, &head, text), ERR_OK);
	return head.payload;
}

/* Answers the upload of these bytes: all of them, at once. */
static void take_upload(struct broker *b, struct hlk *c, const uint8_t *bytes, size_t size)
{
	const struct hlk_blob blob = name_of(bytes, size);
	hear(b, c, FRAME_BLOB_PUT);
	uint32_t upload = b->msg.blob_put.upload;
	assert_memory_equal(b->msg.blob_put.digest.data, blob.digest, sizeof blob.digest);
	state(b, upload, 1, 0, size);
	take_chunks(b, c, bytes, 0, size);
	end_heard(b, c, &blob);
	stored(b, upload, &blob);
}

static void test_what_is_too_big_goes_up_first_and_the_order_stays(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct hlk_head *head = plain_head();
	uint8_t *bytes = content(5000);
	struct log log = { .confirms = 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_submit(c, head, "a", 1, on_confirm, &log), HLK_OK);
	assert_int_equal(hlk_submit(c, head, bytes, 5000, on_confirm, &log), HLK_OK);
	assert_int_equal(hlk_submit(c, head, "b", 1, on_confirm, &log), HLK_OK);
	hear(b, c, FRAME_SUBMIT);
	assert_true(b->msg.submit.first_seq == 1 && b->msg.submit.sizes.count == 1 && submitted_kind(b) == PAYLOAD_INLINE);
	take_upload(b, c, bytes, 5000);
	hear(b, c, FRAME_SUBMIT);
	assert_true(b->msg.submit.first_seq == 2 && b->msg.submit.sizes.count == 1 && submitted_kind(b) == PAYLOAD_BLOB);
	struct blob_ref ref;
	const struct hlk_blob blob = name_of(bytes, 5000);
	blob_ref_read(span_sub(b->frame.payload, 0, sizeof ref), &ref);
	assert_memory_equal(ref.digest, blob.digest, sizeof ref.digest);
	assert_int_equal(ref.size, 5000);
	hear(b, c, FRAME_SUBMIT);
	assert_true(b->msg.submit.first_seq == 3 && submitted_kind(b) == PAYLOAD_INLINE);
	confirm(b, b->msg.submit.producer, (struct confirm_run){ 1, 51, 3, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, log.confirms == 3);
	hlk_head_free(head);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_an_upload_that_fails_refuses_its_submission_alone(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct hlk_head *head = plain_head();
	uint8_t *bytes = content(5000);
	struct log big = { .confirms = 0 }, small = { .confirms = 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_submit(c, head, bytes, 5000, on_confirm, &big), HLK_OK);
	assert_int_equal(hlk_submit(c, head, "b", 1, on_confirm, &small), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	failed(b, b->msg.blob_put.upload, ERR_DISK_FULL, "no room for blobs");
	hear(b, c, FRAME_SUBMIT);
	assert_int_equal(b->msg.submit.first_seq, 2);
	confirm(b, b->msg.submit.producer, (struct confirm_run){ 2, 51, 1, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, small.confirms == 1);
	assert_int_equal(big.code, HLK_DISK_FULL);
	assert_non_null(strstr(big.text, "no room for blobs"));
	hlk_head_free(head);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_queue_that_wants_a_blob_gets_one_and_is_remembered(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct hlk_head *head = plain_head();
	uint8_t *bytes = content(ABOVE);
	struct log log = { .confirms = 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_submit(c, head, "a", 1, on_confirm, &log), HLK_OK);
	assert_int_equal(hlk_submit(c, head, bytes, 500, on_confirm, &log), HLK_OK);
	hear(b, c, FRAME_SUBMIT);
	assert_int_equal(b->msg.submit.sizes.count, 2);
	uint64_t producer = b->msg.submit.producer;
	confirm(b, producer, (struct confirm_run){ 1, 51, 1, ERR_OK, 0, 0 }, NULL);
	confirm(b, producer, (struct confirm_run){ 2, 0, 1, ERR_SPILL, 0, 0 }, "over 400 bytes");
	take_upload(b, c, bytes, 500);
	hear(b, c, FRAME_SUBMIT);
	assert_true(b->msg.submit.first_seq == 3 && submitted_kind(b) == PAYLOAD_BLOB);
	confirm(b, producer, (struct confirm_run){ 3, 52, 1, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, log.confirms == 2);
	assert_int_equal(log.refusals, 0);
	assert_int_equal(hlk_submit(c, head, bytes, 600, on_confirm, &log), HLK_OK);
	take_upload(b, c, bytes, 600); /* at once */
	hlk_head_free(head);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_blob_that_was_collected_before_its_submission_goes_up_again(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct hlk_head *head = plain_head();
	uint8_t *bytes = content(5000);
	struct log log = { .confirms = 0 };
	(void)test;
	welcome_blobs(b, c, false);
	assert_int_equal(hlk_submit(c, head, bytes, 5000, on_confirm, &log), HLK_OK);
	for (int i = 0; i < 2; i++) {
		take_upload(b, c, bytes, 5000);
		hear(b, c, FRAME_SUBMIT);
		assert_int_equal(b->msg.submit.first_seq, 1);
		confirm(b, b->msg.submit.producer, (struct confirm_run){ 1, i ? 51 : 0, 1, i ? ERR_OK : ERR_NOT_FOUND, 0, 0 }, NULL);
	}
	UNTIL(c, log.confirms == 1);
	assert_int_equal(log.refusals, 0);
	hlk_head_free(head);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static uint8_t reported_flags(struct broker *b, struct hlk *c, enum report_verb verb, uint64_t task)
{
	do
		hear(b, c, FRAME_REPORT);
	while (b->msg.report.items[0].verb != verb);
	assert_int_equal(b->msg.report.items[0].ref.task, task);
	return b->msg.report.items[0].flags;
}

static void test_results_and_yields_go_up_and_stay_in_order(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	uint8_t *bytes = content(9000);
	(void)test;
	serve(c, 1, true, &log);
	welcome_blobs(b, c, false);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 71, "a");
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_yield(log.kept[0], bytes, 5000), HLK_OK);
	assert_int_equal(hlk_yield(log.kept[0], "small", 5), HLK_OK);
	assert_int_equal(hlk_complete(log.kept[0], bytes, 9000), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	const struct msg_blob_put first = b->msg.blob_put;
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.size, 9000); /* the result is up first */
	const struct hlk_blob result = name_of(bytes, 9000), item = name_of(bytes, 5000);
	stored(b, b->msg.blob_put.upload, &result);
	for (int i = 0; i < 5; i++)
		assert_int_equal(hlk_run(c, 1), HLK_OK);
	assert_false(next_frame(b)); /* no report, and no credit for a further task */
	broker_cut(b);
	welcome_blobs(b, c, true);
	hear(b, c, FRAME_SERVE); /* the task is held, though its handler is done with it */
	assert_int_equal(b->msg.serve.held_count, 1);
	assert_int_equal(b->msg.serve.held[0].task, 71);
	hear(b, c, FRAME_BLOB_PUT);
	assert_int_equal(b->msg.blob_put.size, first.size);
	stored(b, b->msg.blob_put.upload, &item);
	assert_int_equal(reported_flags(b, c, REPORT_YIELD, 71), REPORT_FLAG_BLOB);
	assert_int_equal(b->msg.report.count, 3);
	assert_true(b->msg.report.items[1].verb == REPORT_YIELD && b->msg.report.items[1].flags == 0);
	assert_true(b->msg.report.items[2].verb == REPORT_COMPLETE && (b->msg.report.items[2].flags & REPORT_FLAG_BLOB));
	hear(b, c, FRAME_CREDIT);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_result_that_cannot_be_stored_fails_the_attempt_with_the_reason(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	uint8_t *bytes = content(9000);
	(void)test;
	serve(c, 1, true, &log);
	welcome_blobs(b, c, false);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 71, "a");
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_complete(log.kept[0], bytes, 9000), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	failed(b, b->msg.blob_put.upload, ERR_PERMISSION, "not in this vnet");
	(void)reported_flags(b, c, REPORT_FAIL, 71);
	assert_int_equal(b->msg.report.items[0].class_code, ERR_PERMANENT);
	assert_true(memmem(b->frame.payload.data, b->frame.payload.len, "not in this vnet", 16) != NULL);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_result_refused_inline_is_made_again_as_a_blob(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	uint8_t *bytes = content(900);
	(void)test;
	serve(c, 1, true, &log);
	welcome_blobs(b, c, false);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 71, "a");
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_complete(log.kept[0], bytes, 900), HLK_OK);
	assert_int_equal(reported_flags(b, c, REPORT_COMPLETE, 71), 0);
	reported(b, 71, REPORT_COMPLETE, ERR_SPILL);
	take_upload(b, c, bytes, 900);
	assert_int_equal(reported_flags(b, c, REPORT_COMPLETE, 71), REPORT_FLAG_BLOB);
	assert_int_equal(log.confirms, 0); /* not settled yet */
	reported(b, 71, REPORT_COMPLETE, ERR_OK);
	UNTIL(c, log.confirms == 1);
	assert_int_equal(log.code, HLK_OK);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

static void test_a_task_is_not_over_before_its_parts_are_up(void **test)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	uint8_t *bytes = content(5000);
	(void)test;
	serve(c, 1, true, &log);
	welcome_blobs(b, c, false);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 71, "a");
	UNTIL(c, log.tasks == 1);
	const struct hlk_submit_options o = { .type = "t.X", .parent = 71 };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	assert_int_equal(hlk_submit(c, head, bytes, 5000, NULL, NULL), HLK_OK);
	assert_int_equal(hlk_submit(c, head, "b", 1, NULL, NULL), HLK_OK);
	assert_int_equal(hlk_complete(log.kept[0], "done", 4), HLK_OK);
	hear(b, c, FRAME_BLOB_PUT);
	for (int i = 0; i < 3; i++)
		assert_int_equal(hlk_run(c, 1), HLK_OK);
	assert_false(next_frame(b));
	const struct hlk_blob blob = name_of(bytes, 5000);
	stored(b, b->msg.blob_put.upload, &blob);
	hear(b, c, FRAME_SUBMIT);
	hear(b, c, FRAME_SUBMIT);
	assert_int_equal(b->msg.submit.first_seq, 2);
	assert_int_equal(reported_flags(b, c, REPORT_COMPLETE, 71), 0);
	hlk_head_free(head);
	hlk_close(c, 0);
	broker_free(b);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_upload_never_goes_beyond_the_credit),
		cmocka_unit_test(test_a_content_that_the_broker_has_is_not_sent),
		cmocka_unit_test(test_an_upload_that_was_cut_goes_on_where_the_broker_is),
		cmocka_unit_test(test_an_upload_that_the_broker_has_let_go_of_begins_again),
		cmocka_unit_test(test_a_stream_that_can_go_back_survives_a_cut),
		cmocka_unit_test(test_a_stream_that_cannot_go_back_ends_with_transient),
		cmocka_unit_test(test_a_broker_that_stored_something_else_is_not_believed),
		cmocka_unit_test(test_four_uploads_are_under_way_and_the_fifth_waits_until_one_is_cancelled),
		cmocka_unit_test(test_a_download_that_was_cut_goes_on_and_is_checked_as_a_whole),
		cmocka_unit_test(test_what_does_not_have_the_digest_becomes_no_file_and_the_broker_is_told),
		cmocka_unit_test(test_what_an_earlier_program_left_is_kept_and_where_it_was_wrong_fetched_anew),
		cmocka_unit_test(test_a_broker_that_sends_beyond_the_credit_loses_the_connection),
		cmocka_unit_test(test_what_is_too_big_goes_up_first_and_the_order_stays),
		cmocka_unit_test(test_an_upload_that_fails_refuses_its_submission_alone),
		cmocka_unit_test(test_a_queue_that_wants_a_blob_gets_one_and_is_remembered),
		cmocka_unit_test(test_a_blob_that_was_collected_before_its_submission_goes_up_again),
		cmocka_unit_test(test_results_and_yields_go_up_and_stay_in_order),
		cmocka_unit_test(test_a_task_is_not_over_before_its_parts_are_up),
		cmocka_unit_test(test_a_result_that_cannot_be_stored_fails_the_attempt_with_the_reason),
		cmocka_unit_test(test_a_result_refused_inline_is_made_again_as_a_blob),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
