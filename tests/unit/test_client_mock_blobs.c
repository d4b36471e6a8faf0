/* Blobs over mock://: payloads of any size through tasks, results, yields, events and calls; references; shapes; administration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"

enum { BIG = 700000, WAIT_MS = 10000 };

static struct hlk *client(void)
{
	struct hlk *c = NULL;
	assert_int_equal(hlk_connect("mock://", WAIT_MS, &c, NULL), HLK_OK);
	return c;
}

static uint8_t *content(size_t size)
{
	uint8_t *out = malloc(size);
	assert_non_null(out);
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)(i * 37 + (i >> 8));
	return out;
}

#define UNTIL(c, condition) \
	for (int turns_ = 0; !(condition); turns_++) { \
		assert_true(turns_ < 2000); \
		assert_int_equal(hlk_run((c), 5), HLK_OK); \
	}

/* What it gets it gives back reversed; holds it while `keep`. */
struct work { uint32_t tasks; enum hlk_payload_kind kind; uint64_t size; struct hlk_task *kept; bool keep, yields; };

static void complete_reversed(struct hlk_task *task, const uint8_t *bytes, size_t size)
{
	uint8_t *out = malloc(size + 1);
	assert_non_null(out);
	for (size_t i = 0; i < size; i++)
		out[i] = bytes[size - 1 - i];
	assert_int_equal(hlk_complete(task, out, size), HLK_OK);
	free(out);
}

static void fetched(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	(void)c;
	assert_int_equal(done->code, HLK_OK);
	complete_reversed(ctx, done->data, done->size);
}

static void on_task(struct hlk *c, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	struct work *w = ctx;
	struct hlk_payload p;
	w->tasks++;
	w->kind = info->kind;
	assert_int_equal(hlk_payload_of(c, info->kind, info->payload, info->size, &p), HLK_OK);
	w->size = p.size;
	if (w->yields)
		assert_int_equal(hlk_yield_payload(task, &p), HLK_OK);
	if (w->keep)
		w->kept = task;
	else if (p.kind == HLK_REFERENCE)
		assert_int_equal(hlk_complete_payload(task, &p), HLK_OK);
	else
		assert_int_equal(hlk_payload_get(c, &p, &(struct hlk_blob_sink){ 0 }, fetched, task, NULL), HLK_OK);
}

static void serve(struct hlk *c, struct work *w, size_t fetch, const char *reference_type)
{
	const struct hlk_serve_options o = { .type = "t.X", .credit = 4, .task = on_task, .ctx = w, .fetch = fetch,
					     .reference_type = reference_type };
	assert_int_equal(hlk_serve(c, &o, NULL), HLK_OK);
}

static const struct hlk_submit_options plain = { .type = "t.X", .want_updates = true };

static void test_a_big_task_and_its_big_result_are_read_like_small_ones(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	struct work w = { 0 };
	(void)state;
	serve(c, &w, 0, NULL);
	for (size_t size = 5; size <= BIG; size += BIG - 5) {
		uint64_t task = 0;
		struct hlk_result r;
		struct hlk_payload p;
		const void *data;
		size_t got;
		assert_int_equal(hlk_submit_wait(c, &plain, bytes, size, WAIT_MS, &task, NULL), HLK_OK);
		assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
		assert_int_equal(r.code, HLK_OK);
		assert_int_equal(r.kind, size == 5 ? HLK_INLINE : HLK_BLOB);
		assert_int_equal(w.kind, r.kind);
		assert_int_equal(hlk_payload_of(c, r.kind, r.data, r.size, &p), HLK_OK);
		assert_int_equal(p.size, size);
		assert_int_equal(hlk_payload_read_wait(c, &p, 0, WAIT_MS, &data, &got), HLK_OK);
		assert_int_equal(got, size);
		for (size_t i = 0; i < size; i++)
			assert_int_equal(((const uint8_t *)data)[i], bytes[size - 1 - i]);
		assert_int_equal(hlk_payload_read_wait(c, &p, size - 1, WAIT_MS, &data, &got), HLK_TOO_BIG);
	}
	hlk_close(c, WAIT_MS);
	free(bytes);
}

static void test_a_handler_that_asks_for_it_gets_the_bytes_with_the_task(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	struct work w = { 0 };
	uint64_t task = 0;
	struct hlk_result r;
	(void)state;
	serve(c, &w, BIG, NULL);
	assert_int_equal(hlk_submit_wait(c, &plain, bytes, BIG, WAIT_MS, &task, NULL), HLK_OK);
	assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
	assert_true(w.kind == HLK_INLINE && w.size == BIG);
	assert_int_equal(hlk_submit_wait(c, &plain, bytes, 300000, WAIT_MS, &task, NULL), HLK_OK);
	w.keep = true;
	UNTIL(c, w.tasks == 2);
	assert_int_equal(hlk_mock_cut(c), HLK_OK); /* lost with the bytes: the next attempt has them again */
	assert_int_equal(hlk_fail(w.kept, HLK_TRANSIENT, 0, "x", 0), HLK_OK);
	w.keep = false;
	assert_int_equal(hlk_ready_wait(c, WAIT_MS), HLK_OK);
	assert_int_equal(hlk_mock_advance(c, 600000), HLK_OK);
	assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
	assert_true(w.tasks == 3 && w.size == 300000 && r.code == HLK_OK);
	hlk_close(c, WAIT_MS);
	free(bytes);
}

static void test_a_file_goes_up_once_and_comes_down_whole(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	char path[64], to[80];
	bool known = true;
	struct hlk_blob blob, again;
	struct stat st;
	(void)state;
	(void)snprintf(path, sizeof path, "/tmp/test_client_mock_blobs.%d", (int)getpid());
	(void)snprintf(to, sizeof to, "%s.to", path);
	FILE *f = fopen(path, "we");
	assert_true(f && fwrite(bytes, 1, BIG, f) == BIG && fclose(f) == 0);
	const struct hlk_blob_source source = { .path = path, .media_type = "application/x-test" };
	assert_int_equal(hlk_blob_put_wait(c, &source, WAIT_MS, &blob, &known), HLK_OK);
	assert_false(known);
	assert_int_equal(blob.size, BIG);
	assert_int_equal(hlk_blob_put_wait(c, &source, WAIT_MS, &again, &known), HLK_OK);
	assert_true(known && memcmp(&blob, &again, sizeof blob) == 0);
	struct hlk_blob_done done;
	const struct hlk_blob_sink sink = { .path = to };
	assert_int_equal(hlk_blob_get_wait(c, blob.digest, &sink, WAIT_MS, &done), HLK_OK);
	assert_string_equal(done.media_type, "application/x-test");
	assert_true(stat(to, &st) == 0 && st.st_size == BIG);
	const struct hlk_blob_sink part = { .offset = 1000, .length = 10 };
	assert_int_equal(hlk_blob_get_wait(c, blob.digest, &part, WAIT_MS, &done), HLK_OK);
	assert_true(done.size == 10 && memcmp(done.data, bytes + 1000, 10) == 0);
	blob.digest[0] ^= 1;
	assert_int_equal(hlk_blob_get_wait(c, blob.digest, &sink, WAIT_MS, &done), HLK_NOT_FOUND);
	const struct hlk_blob_source missing = { .path = "/nowhere/at/all" };
	assert_int_equal(hlk_blob_put_wait(c, &missing, WAIT_MS, &blob, NULL), HLK_INVALID_INPUT);
	assert_true(unlink(path) == 0 && unlink(to) == 0);
	hlk_close(c, WAIT_MS);
	free(bytes);
}

static void test_nothing_is_a_content_too(void **state)
{
	struct hlk *c = client();
	struct hlk_blob blob;
	struct hlk_blob_done done;
	char text[HLK_DIGEST_TEXT];
	uint8_t digest[HLK_DIGEST_BYTES];
	(void)state;
	assert_int_equal(hlk_blob_put_wait(c, &(struct hlk_blob_source){ 0 }, WAIT_MS, &blob, NULL), HLK_OK);
	hlk_digest_print(blob.digest, text);
	assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(hlk_digest_parse("sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", digest), HLK_OK);
	assert_memory_equal(digest, blob.digest, sizeof digest);
	assert_int_equal(hlk_digest_parse("e3b0", digest), HLK_INVALID_INPUT);
	assert_int_equal(hlk_blob_get_wait(c, blob.digest, &(struct hlk_blob_sink){ 0 }, WAIT_MS, &done), HLK_OK);
	assert_int_equal(done.size, 0);
	hlk_close(c, WAIT_MS);
}

struct seen { uint32_t count, references; enum hlk_payload_kind kind; int code; uint64_t size; char text[256]; };

static void on_event(struct hlk *c, const struct hlk_event *event, void *ctx)
{
	struct seen *seen = ctx;
	struct hlk_payload p;
	assert_int_equal(hlk_payload_of(c, event->kind, event->payload, event->size, &p), HLK_OK);
	seen->count++;
	seen->kind = event->kind;
	seen->size = p.size;
}

static void test_a_big_event_goes_up_for_others_and_keeps_its_place(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	struct seen here = { 0 }, from_broker = { 0 };
	struct hlk_published published;
	(void)state;
	const struct hlk_subscribe_options o = { .pattern = "e.Big", .event = on_event, .ctx = &here };
	const struct hlk_subscribe_options away = { .pattern = "e.Big", .descendants = true, .event = on_event, .ctx = &from_broker };
	assert_int_equal(hlk_subscribe_wait(c, &o, WAIT_MS, NULL), HLK_OK);
	assert_int_equal(hlk_subscribe_wait(c, &away, WAIT_MS, NULL), HLK_OK);
	struct hlk_topic *t = hlk_topic_new(c, &(struct hlk_topic_options){ .type = "e.Big" }, NULL);
	assert_int_equal(hlk_publish(c, t, bytes, BIG, NULL, NULL), HLK_OK);
	assert_true(here.count == 1 && here.kind == HLK_INLINE && here.size == BIG); /* the same pointer, inside the call */
	assert_int_equal(hlk_publish_wait(c, t, "small", 5, WAIT_MS, &published), HLK_OK);
	UNTIL(c, from_broker.count == 2);
	assert_int_equal(from_broker.size, 5); /* the last one */
	const struct hlk_payload p = { .kind = HLK_REFERENCE, .reference = { .scheme = "s3", .key = "k", .size = 9 } };
	assert_int_equal(hlk_publish_payload(c, t, &p, NULL, NULL), HLK_OK);
	UNTIL(c, from_broker.count == 3);
	assert_true(from_broker.kind == HLK_REFERENCE && from_broker.size == 9 && here.kind == HLK_REFERENCE);
	hlk_topic_free(t);
	hlk_close(c, WAIT_MS);
	free(bytes);
}

static void on_call(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	struct seen *seen = ctx;
	(void)c;
	seen->count++;
	seen->kind = info->kind;
	seen->size = info->size;
	assert_int_equal(hlk_answer_part(call, "part", 4), HLK_OK);
	assert_int_equal(hlk_answer_part(call, info->payload, info->size), HLK_OK);
	assert_int_equal(hlk_answer(call, "end", 3), HLK_OK);
}

static void on_answer(struct hlk *c, const struct hlk_answer *a, void *ctx)
{
	struct seen *seen = ctx;
	struct hlk_payload p;
	seen->count++;
	seen->code = a->code;
	assert_int_equal(hlk_payload_of(c, a->kind, a->data, a->size, &p), HLK_OK);
	(void)snprintf(seen->text + strlen(seen->text), 64, "%u:%u%s ", (unsigned)a->kind, (unsigned)p.size, a->more ? "" : ".");
}

static void test_a_big_call_and_its_parts_arrive_in_order(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	struct seen asked = { 0 }, answers = { 0 };
	uint64_t number = 0;
	(void)state;
	const struct hlk_serve_options s = { .type = "c.X", .call = on_call, .ctx = &asked, .fetch = BIG, .reference_type = "img.Zarr" };
	const struct hlk_call_options o = { .service = "c.X", .stream = true };
	assert_int_equal(hlk_serve(c, &s, NULL), HLK_OK);
	assert_int_equal(hlk_call(c, &o, bytes, BIG, on_answer, &answers, &number), HLK_OK);
	UNTIL(c, answers.count == 3);
	assert_true(asked.kind == HLK_INLINE && asked.size == BIG);
	assert_string_equal(answers.text, "0:4 1:700000 0:3. ");
	assert_int_equal(hlk_call(c, &o, bytes, BIG, on_answer, &answers, &number), HLK_OK);
	assert_int_equal(hlk_call_cancel(c, number), HLK_OK); /* before it is up */
	assert_int_equal(answers.code, HLK_CANCELLED);
	const struct hlk_payload p = { .kind = HLK_REFERENCE, .reference = { .scheme = "s3", .key = "k", .type = "img.Tiff" } };
	assert_int_equal(hlk_call_payload(c, &o, &p, on_answer, &answers, &number), HLK_OK);
	UNTIL(c, answers.code == HLK_SCHEMA_MISMATCH);
	assert_int_equal(asked.count, 1);
	hlk_close(c, WAIT_MS);
	free(bytes);
}

static void on_update(struct hlk *c, const struct hlk_update *update, void *ctx)
{
	struct seen *seen = ctx;
	(void)c;
	seen->count += update->kind == HLK_YIELD;
	seen->kind = update->kind == HLK_YIELD ? update->item_kind : seen->kind;
}

static void test_a_reference_is_carried_and_one_of_another_type_refused(void **state)
{
	struct hlk *c = client();
	struct work w = { .yields = true };
	struct seen seen = { 0 };
	uint64_t task = 0;
	struct hlk_result r;
	struct hlk_payload p = { .kind = HLK_REFERENCE,
				 .reference = { .scheme = "s3", .key = "bucket/cell.zarr", .type = "img.Zarr", .size = 1ull << 30 } };
	(void)state;
	serve(c, &w, 0, "img.Zarr");
	hlk_on_update(c, on_update, &seen);
	assert_int_equal(hlk_submit_payload_wait(c, &plain, &p, WAIT_MS, &task, NULL), HLK_OK);
	assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
	struct hlk_payload back;
	assert_int_equal(hlk_payload_of(c, r.kind, r.data, r.size, &back), HLK_OK);
	assert_string_equal(back.reference.key, "bucket/cell.zarr");
	assert_true(back.size == 1ull << 30 && r.size < 1000);
	assert_true(seen.count == 1 && seen.kind == HLK_REFERENCE);
	assert_int_equal(hlk_payload_get(c, &back, &(struct hlk_blob_sink){ 0 }, fetched, NULL, NULL), HLK_UNSUPPORTED);
	p.reference.type = "img.Tiff";
	assert_int_equal(hlk_submit_payload_wait(c, &plain, &p, WAIT_MS, &task, NULL), HLK_OK);
	assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
	assert_int_equal(r.code, HLK_INVALID_INPUT);
	assert_int_equal(w.tasks, 1);
	p.reference.key = NULL;
	assert_int_equal(hlk_submit_payload_wait(c, &plain, &p, WAIT_MS, &task, NULL), HLK_INVALID_INPUT);
	hlk_close(c, WAIT_MS);
}

static void one_row(const struct hlk_blob_row *row, void *ctx)
{
	struct seen *seen = ctx;
	seen->count++;
	seen->size = row->blob.size;
	seen->references = row->references;
	(void)snprintf(seen->text, sizeof seen->text, "%s", row->pin_count ? row->pins[0] : "");
}

static void test_what_is_referred_to_or_pinned_stays_and_the_rest_is_collected(void **state)
{
	struct hlk *c = client();
	uint8_t *bytes = content(BIG);
	struct hlk_blob blob;
	struct seen seen = { 0 };
	uint64_t count = 0, cursor = 0, task = 0;
	(void)state;
	assert_int_equal(hlk_submit_wait(c, &plain, bytes, BIG, WAIT_MS, &task, NULL), HLK_OK);
	assert_int_equal(hlk_blob_put_wait(c, &(struct hlk_blob_source){ .data = "x", .size = 1 }, WAIT_MS, &blob, NULL), HLK_OK);
	assert_int_equal(hlk_blob_pin(c, blob.digest, "mine"), HLK_OK);
	assert_int_equal(hlk_blob_collect(c, &count), HLK_OK);
	assert_int_equal(count, 0);
	assert_int_equal(hlk_blob_list(c, 0, &cursor, one_row, &seen), HLK_OK);
	assert_true(seen.count == 2 && seen.references == 1); /* the task's, which is the last one */
	assert_int_equal(hlk_blob_show(c, blob.digest, one_row, &seen), HLK_OK);
	assert_string_equal(seen.text, "mine");
	assert_int_equal(hlk_blob_remove(c, blob.digest), HLK_WRONG_STATE);
	assert_int_equal(hlk_blob_unpin(c, blob.digest, "yours"), HLK_NOT_FOUND);
	assert_int_equal(hlk_blob_unpin(c, blob.digest, "mine"), HLK_OK);
	assert_int_equal(hlk_blob_remove(c, blob.digest), HLK_OK);
	assert_int_equal(hlk_task_cancel(c, task, "no more"), HLK_OK);
	assert_int_equal(hlk_blob_collect(c, &count), HLK_OK);
	assert_int_equal(count, 1);
	assert_int_equal(hlk_blob_scrub(c, NULL, &count), HLK_OK);
	assert_int_equal(count, 0);
	hlk_close(c, WAIT_MS);
	free(bytes);
}

/* ---- shapes ---- */

struct picture { uint32_t width; uint8_t *pixels; size_t size; };
struct gallery { uint32_t released, handled, results; uint32_t width; };

static int picture_shrink(struct hlk *c, const void *object, struct hlk_payload *out, void *ctx)
{
	const struct picture *p = object;
	uint8_t *bytes = malloc(p->size + sizeof p->width);
	(void)c;
	(void)ctx;
	assert_non_null(bytes);
	memcpy(bytes, &p->width, sizeof p->width);
	memcpy(bytes + sizeof p->width, p->pixels, p->size);
	out->data = bytes;
	out->size = p->size + sizeof p->width;
	return HLK_OK;
}

static void picture_shrunk(struct hlk *c, struct hlk_payload *p, void *ctx)
{
	(void)c;
	(void)ctx;
	free((void *)(uintptr_t)p->data);
}

static int picture_expand(struct hlk *c, const struct hlk_payload *p, void **object, void *ctx)
{
	struct picture *out = malloc(sizeof *out);
	(void)c;
	(void)ctx;
	assert_non_null(out);
	assert_int_equal(p->kind, HLK_INLINE);
	if (p->size < sizeof out->width) {
		free(out);
		return HLK_INVALID_INPUT;
	}
	memcpy(&out->width, p->data, sizeof out->width);
	out->size = (size_t)p->size - sizeof out->width;
	*object = out;
	return HLK_OK;
}

static void picture_release(struct hlk *c, void *object, void *ctx)
{
	struct gallery *g = ctx;
	(void)c;
	g->released++;
	free(object);
}

static void on_picture(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct gallery *g = ctx;
	const struct picture *p = hlk_task_object(task);
	(void)c;
	g->handled++;
	uint8_t *pixels = content(p->size);
	const struct picture wider = { p->width + 1, pixels, p->size };
	assert_int_equal(hlk_complete_object(task, &wider), HLK_OK);
	free(pixels);
}

static void on_result(struct hlk *c, const struct hlk_result *result, void *ctx)
{
	struct gallery *g = ctx;
	const struct picture *p = result->object;
	(void)c;
	g->results++;
	g->width = p ? p->width : 0;
}

static void test_objects_travel_as_payloads_of_any_size(void **state)
{
	struct hlk *c = client();
	struct gallery g = { 0 };
	(void)state;
	struct hlk_shape shape = { .type = "p.Picture", .shrink = picture_shrink, .shrunk = picture_shrunk, .expand = picture_expand,
				   .release = picture_release, .ctx = &g };
	assert_int_equal(hlk_shape(c, &shape), HLK_OK);
	assert_int_equal(hlk_shape(c, &shape), HLK_EXISTS);
	shape.results = true;
	assert_int_equal(hlk_shape(c, &shape), HLK_OK);
	const struct hlk_serve_options s = { .type = "p.Picture", .task = on_picture, .ctx = &g };
	const struct hlk_submit_options o = { .type = "p.Picture", .want_result = true };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	assert_int_equal(hlk_serve(c, &s, NULL), HLK_OK);
	hlk_on_result(c, on_result, &g);
	for (uint32_t i = 0; i < 2; i++) {
		struct picture p = { 640 + i, NULL, i ? BIG : 100 };
		p.pixels = content(p.size);
		assert_int_equal(hlk_submit_object(c, head, &p, NULL, NULL), HLK_OK);
		free(p.pixels);
		UNTIL(c, g.results == i + 1);
		assert_int_equal(g.width, 641 + i);
	}
	assert_true(g.handled == 2 && g.released == 4);
	uint64_t task = 0;
	struct hlk_result r;
	assert_int_equal(hlk_submit_wait(c, &o, "x", 1, WAIT_MS, &task, NULL), HLK_OK); /* no picture */
	assert_int_equal(hlk_await_wait(c, task, WAIT_MS, &r), HLK_OK);
	assert_true(r.code == HLK_INVALID_INPUT && g.handled == 2);
	hlk_head_free(head);
	hlk_close(c, WAIT_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_big_task_and_its_big_result_are_read_like_small_ones),
		cmocka_unit_test(test_a_handler_that_asks_for_it_gets_the_bytes_with_the_task),
		cmocka_unit_test(test_a_file_goes_up_once_and_comes_down_whole),
		cmocka_unit_test(test_nothing_is_a_content_too),
		cmocka_unit_test(test_a_big_event_goes_up_for_others_and_keeps_its_place),
		cmocka_unit_test(test_a_big_call_and_its_parts_arrive_in_order),
		cmocka_unit_test(test_a_reference_is_carried_and_one_of_another_type_refused),
		cmocka_unit_test(test_what_is_referred_to_or_pinned_stays_and_the_rest_is_collected),
		cmocka_unit_test(test_objects_travel_as_payloads_of_any_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
