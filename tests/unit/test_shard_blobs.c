/* tests/unit/test_shard_blobs.c: blobs through a whole broker in the simulated world: in, out, kept, refused, collected. */
#include "blob_world.h"

#include <errno.h>

/* ---- in and out ---- */

static void what_goes_in_comes_out(void **unused)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 20 * CHUNK };
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_dial(&c, &w);
	client_hello(&c, 1);
	const struct msg_welcome *hello = &client_expect(&c, FRAME_WELCOME)->welcome;
	assert_int_equal(hello->blob_above, 256 << 10);
	assert_int_equal(hello->blob_chunk, CHUNK);
	assert_true(hello->blob_max > 1u << 30);
	for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
		struct content content = content_of(sizes[i], (uint8_t)i);
		const struct msg_blob_state *s = store(&c, i + 1, &content);
		assert_int_equal(s->size, content.len);
		assert_memory_equal(s->digest.data, content.digest, BLOB_DIGEST);
		assert_int_equal(fetch(&c, i + 1, &content, 0), ERR_OK);
		assert_int_equal(fetch(&c, i + 1, &content, content.len / 3), ERR_OK);
		assert_int_equal(blob_in(&w, &content)->size, content.len);
		free(content.bytes);
	}
	assert_int_equal(files_of(&w).whole, COUNT_OF(sizes));
	assert_int_equal(files_of(&w).parts, 0);
	assert_true(stat_of(&w, "blob_memory_bytes") == 0);
	client_free(&c);
	world_close(&w);
}

/* Where a file cannot be sent from, its bytes go through memory; where it cannot be read, the connection ends: half a frame is none. */
static void what_cannot_go_from_file_to_socket_goes_through_memory(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(5 * CHUNK, 1);
	(void)store(&c, 1, &content);
	uint64_t before = sim_calls_of(w.sim, SIM_SEND_FILE);
	assert_int_equal(fetch(&c, 1, &content, 0), ERR_OK);
	assert_int_equal(sim_calls_of(w.sim, SIM_SEND_FILE) - before, 5);
	sim_fail_kind(w.sim, SIM_SEND_FILE, 1, EMFILE, true);
	assert_int_equal(fetch(&c, 2, &content, 0), ERR_OK);
	assert_true(sim_fault_fired(w.sim));
	sim_fail_kind(w.sim, SIM_SEND_FILE, 1, EIO, true);
	send_get(&c, 3, &content, 0, 0, UINT64_MAX);
	client_expect_closed(&c);
	sim_fail_none(w.sim);
	world_run(&w, SIM_S);
	assert_true(stat_of(&w, "blob_reads") == 0 && stat_of(&w, "blob_memory_bytes") == 0);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void a_part_of_a_blob_is_what_was_asked_for(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(2 * CHUNK, 1);
	(void)store(&c, 1, &content);
	send_get(&c, 9, &content, 100, 50, UINT64_MAX);
	const struct msg_blob_data *d = &client_expect(&c, FRAME_BLOB_DATA)->blob_data;
	assert_true(d->end && d->size == 50 && d->offset == 100);
	assert_true(span_eq(d->media_type, span_str("image/png")));
	assert_memory_equal(c.frame.payload.data, content.bytes + 100, 50);
	send_get(&c, 9, &content, 2 * CHUNK + 1, 0, UINT64_MAX);
	assert_int_equal(client_expect(&c, FRAME_BLOB_DATA)->blob_data.code, ERR_INVALID_INPUT);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void a_store_without_urls_says_so(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(10, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = 10, .digest = span_of(content.digest, BLOB_DIGEST), .direct = true });
	assert_int_equal(state_of(&c)->code, ERR_UNSUPPORTED);
	(void)store(&c, 2, &content);
	struct msg m = { .kind = FRAME_BLOB_GET };
	m.blob_get = (struct msg_blob_get){ .read = 1, .direct = true, .digest = span_of(content.digest, BLOB_DIGEST) };
	client_send(&c, &m, 0, span_of(NULL, 0));
	assert_int_equal(client_expect(&c, FRAME_BLOB_DATA)->blob_data.code, ERR_UNSUPPORTED);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void what_is_there_is_not_sent_again(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(1000, 1);
	uint64_t number = store(&c, 1, &content)->number;
	send_put(&c, (struct msg_blob_put){ .upload = 2, .size = content.len, .digest = span_of(content.digest, BLOB_DIGEST) });
	const struct msg_blob_state *s = state_of(&c);
	assert_true(s->stored && s->number == number && s->code == ERR_OK);
	send_put(&c, (struct msg_blob_put){ .upload = 3, .size = 999, .digest = span_of(content.digest, BLOB_DIGEST) });
	assert_int_equal(state_of(&c)->code, ERR_INTEGRITY_MISMATCH);
	/* Who does not know the digest sends it all; it is kept once. */
	assert_int_equal(store(&c, 4, &content)->number, number);
	world_run(&w, 2 * SIM_S);
	assert_int_equal(files_of(&w).whole, 1);
	assert_int_equal(files_of(&w).parts, 0);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

/* ---- refusals ---- */

static void expect_failed(struct client *c, enum err code, const char *words)
{
	const struct msg_blob_state *s = upload_outcome(c);
	if (s->code != code || !memmem(s->text.data, s->text.len, words, strlen(words)))
		fail_msg("%s: %.*s; expected %s with '%s'", err_name(s->code), (int)s->text.len, (const char *)s->text.data,
			 err_name(code), words);
}

static void what_does_not_fit_is_refused_and_leaves_nothing(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(3000, 1), other = content_of(3000, 2);
	struct msg_blob_put put = { .upload = 1, .size = 3000 };

	send_put(&c, put); /* another digest */
	(void)feed(&c, 1, &content, 0, 3000, *state_of(&c));
	send_end(&c, 1, 3000, other.digest);
	char name[BLOB_NAME_BYTES];
	expect_failed(&c, ERR_INTEGRITY_MISMATCH, blob_name(content.digest, name));

	send_put(&c, put); /* short */
	(void)feed(&c, 1, &content, 0, 2000, *state_of(&c));
	send_end(&c, 1, 3000, content.digest);
	expect_failed(&c, ERR_INTEGRITY_MISMATCH, "2000 bytes have come, and it says 3000");

	send_put(&c, put); /* long */
	(void)feed(&c, 1, &content, 0, 2999, *state_of(&c));
	send_chunk(&c, 1, 2999, span_of(content.bytes, 2));
	expect_failed(&c, ERR_INTEGRITY_MISMATCH, "3000 bytes were announced, and 3001 come");

	send_put(&c, put); /* ahead */
	(void)feed(&c, 1, &content, 0, 1000, *state_of(&c));
	send_chunk(&c, 1, 1500, span_of(content.bytes + 1500, 100));
	expect_failed(&c, ERR_WRONG_STATE, "BLOB_CHUNK.offset: 1500, and 1000 is next");

	send_chunk(&c, 1, 1600, span_of(content.bytes, 100)); /* it is over: nobody listens */
	send_end(&c, 1, 3000, content.digest);
	expect_failed(&c, ERR_NOT_FOUND, "BLOB_END.upload");

	send_put(&c, put); /* the same number twice */
	assert_int_equal(state_of(&c)->code, ERR_OK);
	send_put(&c, put);
	expect_failed(&c, ERR_INVALID_INPUT, "BLOB_PUT.upload: 1 is in use");

	put.size = BLOB_SIZE_UNKNOWN; /* more than there is credit for: there is none yet */
	struct buf both = { NULL, 0, 0 };
	struct msg m = { .kind = FRAME_BLOB_PUT };
	struct span bytes = span_of(content.bytes, 3000);
	m.blob_put = put;
	msg_encode(&both, &m, 0, NULL, 0);
	m.kind = FRAME_BLOB_CHUNK;
	m.blob_chunk = (struct msg_blob_chunk){ 1, 3000, 0 };
	msg_encode(&both, &m, 0, &bytes, 1);
	sim_peer_send(c.peer, buf_span(&both));
	buf_free(&both);
	expect_failed(&c, ERR_RESOURCE_EXHAUSTED, "there is credit up to 0");

	world_run(&w, 2 * SIM_S);
	assert_int_equal(files_of(&w).whole + files_of(&w).parts, 0);
	assert_true(stat_of(&w, "blob_memory_bytes") == 0 && stat_of(&w, "blob_uploads") == 0);
	free(content.bytes);
	free(other.bytes);
	client_free(&c);
	world_close(&w);
}

static void chunks_that_come_twice_are_dropped(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(5000, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = 5000 });
	(void)feed(&c, 1, &content, 0, 2000, *state_of(&c));
	send_chunk(&c, 1, 0, span_of(content.bytes, 1000));
	send_chunk(&c, 1, 1000, span_of(content.bytes + 7, 1000)); /* not even looked at */
	send_chunk(&c, 1, 1500, span_of(content.bytes + 1500, 3500)); /* a part of it is new */
	send_end(&c, 1, 5000, content.digest);
	assert_true(upload_outcome(&c)->stored);
	assert_int_equal(fetch(&c, 1, &content, 0), ERR_OK);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void limits_are_refusals_that_name_them(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	w.config.blob_max = 10000;
	w.config.blob_store_max = 15000;
	w.config.blob_session_uploads = 2;
	w.config.blob_uploads = 3;
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(9000, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = 10001 });
	expect_failed(&c, ERR_TOO_BIG, "blob_max");
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = BLOB_SIZE_UNKNOWN });
	struct msg_blob_state last = *state_of(&c);
	while (last.credit == 0)
		last = *state_of(&c);
	struct content large = content_of(11000, 2);
	send_chunk(&c, 1, 0, span_of(large.bytes, 10001));
	expect_failed(&c, ERR_TOO_BIG, "blob_max");
	(void)store(&c, 1, &content);
	send_put(&c, (struct msg_blob_put){ .upload = 2, .size = 6001 });
	expect_failed(&c, ERR_RESOURCE_EXHAUSTED, "blob_store_max");
	send_put(&c, (struct msg_blob_put){ .upload = 2, .size = 10 });
	send_put(&c, (struct msg_blob_put){ .upload = 3, .size = 10 });
	send_put(&c, (struct msg_blob_put){ .upload = 4, .size = 10 });
	expect_failed(&c, ERR_RESOURCE_EXHAUSTED, "this session has 2 uploads");
	struct client d;
	client_open(&d, &w, 2);
	send_put(&d, (struct msg_blob_put){ .upload = 1, .size = 10 });
	send_put(&d, (struct msg_blob_put){ .upload = 2, .size = 10 });
	expect_failed(&d, ERR_RESOURCE_EXHAUSTED, "blob_uploads");
	free(content.bytes);
	free(large.bytes);
	client_free(&c);
	client_free(&d);
	world_close(&w);
}

static void a_full_disk_refuses_blobs_and_leaves_nothing(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(3 * CHUNK, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = content.len });
	struct msg_blob_state last = feed(&c, 1, &content, 0, CHUNK, *state_of(&c));
	sim_disk_limit(w.sim, 0, sim_disk_used(w.sim, 0));
	last = feed(&c, 1, &content, CHUNK, content.len, last);
	while (last.code == ERR_OK)
		last = *state_of(&c);
	assert_int_equal(last.code, ERR_DISK_FULL);
	send_put(&c, (struct msg_blob_put){ .upload = 2, .size = content.len });
	expect_failed(&c, ERR_DISK_FULL, "the disk is too full");
	sim_disk_limit(w.sim, 0, UINT64_MAX);
	(void)store(&c, 3, &content);
	world_run(&w, 2 * SIM_S);
	assert_int_equal(files_of(&w).whole, 1);
	assert_int_equal(files_of(&w).parts, 0);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void without_memory_uploads_wait_for_each_other(void **unused)
{
	struct world w;
	struct client c;
	enum { MANY = 12 };
	struct content content[MANY];
	(void)unused;
	world_init(&w);
	w.config.blob_memory = 4 * CHUNK;
	world_open(&w);
	client_open(&c, &w, 1);
	uint64_t credit[MANY] = { 0 }, sent[MANY] = { 0 };
	bool stored[MANY] = { false }, ended[MANY] = { false };
	for (uint32_t i = 0; i < MANY; i++) {
		content[i] = content_of(5 * CHUNK, (uint8_t)i);
		send_put(&c, (struct msg_blob_put){ .upload = i + 1, .size = content[i].len });
	}
	for (uint32_t left = MANY; left > 0;) {
		const struct msg_blob_state *s = state_of(&c);
		uint32_t i = s->upload - 1;
		assert_int_equal(s->code, ERR_OK);
		credit[i] = MAX_OF(credit[i], s->credit);
		left -= s->stored && !stored[i];
		stored[i] = stored[i] || s->stored;
		assert_true(stat_of(&w, "blob_memory_bytes") <= 4 * CHUNK);
		for (; !ended[i] && sent[i] < credit[i]; sent[i] += CHUNK)
			send_chunk(&c, i + 1, sent[i], span_of(content[i].bytes + sent[i], CHUNK));
		if (!ended[i] && sent[i] == content[i].len) {
			send_end(&c, i + 1, content[i].len, content[i].digest);
			ended[i] = true;
		}
	}
	for (uint32_t i = 0; i < MANY; i++) {
		assert_int_equal(fetch(&c, i + 1, &content[i], 0), ERR_OK);
		free(content[i].bytes);
	}
	client_free(&c);
	world_close(&w);
}

/* ---- cuts ---- */

static void an_upload_goes_on_after_a_cut(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(6 * CHUNK, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = content.len });
	struct msg_blob_state last = feed(&c, 1, &content, 0, 3 * CHUNK, *state_of(&c));
	uint64_t number = last.number;
	world_run(&w, SIM_S);
	sim_peer_cut(c.peer);
	world_run(&w, SIM_S);
	client_free(&c);
	client_open(&c, &w, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = content.len, .number = number });
	last = *state_of(&c);
	assert_int_equal(last.number, number);
	assert_int_equal(last.offset, 3 * CHUNK);
	(void)feed(&c, 1, &content, last.offset, content.len, last);
	send_end(&c, 1, content.len, content.digest);
	assert_true(upload_outcome(&c)->stored);
	assert_int_equal(fetch(&c, 1, &content, 0), ERR_OK);

	/* Another session of the same principal takes one over whose own is not there; a number that nobody knows begins anew. */
	struct content second = content_of(2 * CHUNK, 2);
	send_put(&c, (struct msg_blob_put){ .upload = 2, .size = second.len });
	last = feed(&c, 2, &second, 0, CHUNK, *state_of(&c));
	number = last.number;
	world_run(&w, SIM_S);
	struct client d;
	client_open(&d, &w, 2);
	send_put(&d, (struct msg_blob_put){ .upload = 7, .size = second.len, .number = number });
	last = *state_of(&d);
	assert_true(last.number != number && last.offset == 0);
	sim_peer_cut(c.peer);
	world_run(&w, SIM_S);
	send_put(&d, (struct msg_blob_put){ .upload = 8, .size = second.len, .number = number });
	do
		last = *state_of(&d);
	while (last.upload != 8);
	assert_true(last.number == number && last.offset == CHUNK);
	(void)feed(&d, 8, &second, CHUNK, second.len, last);
	send_end(&d, 8, second.len, second.digest);
	assert_true(upload_outcome(&d)->stored);
	free(content.bytes);
	free(second.bytes);
	client_free(&c);
	client_free(&d);
	world_close(&w);
}

static void an_upload_ends_with_its_session(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	w.config.grace_ms = 2000;
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(3 * CHUNK, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = content.len });
	(void)feed(&c, 1, &content, 0, 2 * CHUNK, *state_of(&c));
	world_run(&w, SIM_S);
	assert_int_equal(files_of(&w).parts, 1);
	sim_peer_cut(c.peer);
	world_run(&w, 5 * SIM_S);
	assert_int_equal(files_of(&w).parts + files_of(&w).whole, 0);
	assert_true(stat_of(&w, "blob_uploads") == 0 && stat_of(&w, "blob_memory_bytes") == 0);
	client_free(&c);
	client_open(&c, &w, 3); /* one that is taken back */
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = content.len });
	(void)feed(&c, 1, &content, 0, CHUNK, *state_of(&c));
	send_end(&c, 1, 0, NULL);
	world_run(&w, SIM_S);
	assert_int_equal(files_of(&w).parts + files_of(&w).whole, 0);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void an_upload_that_stands_still_ends(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	send_put(&c, (struct msg_blob_put){ .upload = 1, .size = 5000 });
	(void)state_of(&c);
	uint64_t end = io_now_ns(w.io) + 700 * SIM_S;
	while (io_now_ns(w.io) < end) {
		shard_turn_until(w.shard, end);
		while (client_poll(&c))
			if (c.msg.kind == FRAME_PING) {
				c.msg.kind = FRAME_PONG;
				client_send(&c, &c.msg, 0, span_of(NULL, 0));
			} else if (c.msg.kind == FRAME_BLOB_STATE && c.msg.blob_state.code == ERR_TIMEOUT) {
				end = 0;
			}
	}
	assert_int_equal(end, 0);
	client_free(&c);
	world_close(&w);
}

/* ---- references ---- */

static void submit_blob(struct client *c, const struct content *content, uint64_t seq, const char *type)
{
	struct buf head = { NULL, 0, 0 };
	const struct task_head h = { .type = span_str(type), .priority = 4, .want_result = true, .payload = PAYLOAD_BLOB };
	struct blob_ref ref = ref_of(content);
	uint32_t size = sizeof ref;
	struct msg m = { .kind = FRAME_SUBMIT };
	task_head_encode(&head, &h);
	m.submit = (struct msg_submit){ .producer = 1, .first_seq = seq, .resolved_below = seq, .confirm = CONFIRM_DURABLE,
					.head = buf_span(&head), .sizes = { &size, 1 } };
	client_send(c, &m, 0, span_of(&ref, sizeof ref));
	buf_free(&head);
}

/* Both answer PINGs meanwhile. */
static void stay(struct client *a, struct client *b, uint64_t ns)
{
	struct client *both[] = { a, b };
	uint64_t end = io_now_ns(a->w->io) + ns;
	while (io_now_ns(a->w->io) < end) {
		world_run(a->w, SIM_S / 2);
		for (int i = 0; i < 2; i++)
			while (client_poll(both[i])) {
				if (both[i]->msg.kind != FRAME_PING)
					continue;
				both[i]->msg.kind = FRAME_PONG;
				client_send(both[i], &both[i]->msg, 0, span_of(NULL, 0));
			}
	}
}

static void tasks_results_and_yields_hold_their_blobs(void **unused)
{
	struct world w;
	struct client c, worker;
	(void)unused;
	world_init(&w);
	w.config.blob_grace_ms = 20000;
	w.config.tasks.defaults.retention_ms = 100000;
	world_open(&w);
	client_open(&c, &w, 1);
	client_open(&worker, &w, 2);
	struct content in = content_of(2 * CHUNK + 3, 1), out = content_of(CHUNK + 9, 2), none = content_of(10, 3);
	submit_blob(&c, &none, 1, "work");
	struct msg *m = client_expect(&c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_NOT_FOUND);
	assert_non_null(memmem(m->confirms.text.data, m->confirms.text.len, "sha256:", 7));
	(void)store(&c, 1, &in);
	submit_blob(&c, &in, 2, "work");
	m = client_expect(&c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_OK);
	assert_int_equal(blob_in(&w, &in)->references, 1);
	stay(&c, &worker, 40 * SIM_S); /* longer than the grace */
	assert_non_null(blob_in(&w, &in));

	client_serve(&worker, "work", 1);
	m = client_expect(&worker, FRAME_DELIVER);
	struct task_head head;
	char text[128];
	assert_int_equal(task_head_decode(m->deliver.head, &head, text), ERR_OK);
	assert_int_equal(head.payload, PAYLOAD_BLOB);
	struct task_ref ref = { m->deliver.items[0].task, m->deliver.items[0].attempt, w.shard ? m->deliver.epoch : 0 };
	assert_int_equal(fetch(&worker, 1, &in, 0), ERR_OK);

	struct blob_ref result = ref_of(&out);
	struct report_item item = { .ref = ref, .size = sizeof result, .verb = REPORT_COMPLETE, .flags = REPORT_FLAG_BLOB };
	struct msg report = { .kind = FRAME_REPORT };
	report.report = (struct msg_report){ .items = &item, .count = 1 };
	client_send(&worker, &report, 0, span_of(&result, sizeof result));
	m = client_expect(&worker, FRAME_REPORTED);
	assert_int_equal(m->reported.items[0].code, ERR_NOT_FOUND);
	assert_int_equal(m->reported.items[0].state, TASK_LEASED); /* the lease stays */
	(void)store(&worker, 1, &out);
	client_send(&worker, &report, 0, span_of(&result, sizeof result));
	assert_int_equal(client_expect(&worker, FRAME_REPORTED)->reported.items[0].code, ERR_OK);
	m = client_expect(&c, FRAME_RESULTS);
	assert_int_equal(m->results.kind_count, 1);
	assert_int_equal(m->results.kinds[0], PAYLOAD_BLOB);
	assert_memory_equal(c.frame.payload.data, &result, sizeof result);
	assert_int_equal(fetch(&c, 1, &out, 0), ERR_OK);
	assert_int_equal(blob_in(&w, &in)->references, 0);
	assert_int_equal(blob_in(&w, &out)->references, 1);
	stay(&c, &worker, 45 * SIM_S);
	assert_null(blob_in(&w, &in)); /* nothing refers to it any more */
	assert_non_null(blob_in(&w, &out));
	stay(&c, &worker, 140 * SIM_S);
	assert_null(blob_in(&w, &out));
	assert_int_equal(files_of(&w).whole + files_of(&w).parts, 0);
	free(in.bytes);
	free(out.bytes);
	free(none.bytes);
	client_free(&c);
	client_free(&worker);
	world_close(&w);
}

/* Both are in one batch, the submission in front: the collection's apply finds a reference, and not a byte may be gone by then. */
static void a_collection_behind_a_submission_takes_nothing(void **unused)
{
	struct world w;
	struct client c;
	struct buf out = { NULL, 0, 0 }, head = { NULL, 0, 0 };
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(5000, 1);
	(void)store(&c, 1, &content);
	const struct task_head h = { .type = span_str("work"), .priority = 4, .payload = PAYLOAD_BLOB };
	struct blob_ref ref = ref_of(&content);
	const struct span payload = span_of(&ref, sizeof ref);
	uint32_t size = sizeof ref;
	struct msg m = { .kind = FRAME_SUBMIT };
	task_head_encode(&head, &h);
	m.submit = (struct msg_submit){ .producer = 1, .first_seq = 1, .resolved_below = 1, .confirm = CONFIRM_DURABLE,
					.head = buf_span(&head), .sizes = { &size, 1 } };
	msg_encode(&out, &m, 0, &payload, 1);
	m.kind = FRAME_REQUEST;
	m.request = (struct msg_request){ .verb = VERB_BLOB_COLLECT, .settings = QUEUE_SETTINGS_UNSET };
	msg_encode(&out, &m, 7, NULL, 0);
	sim_peer_send(c.peer, buf_span(&out));
	assert_int_equal(client_expect(&c, FRAME_REPLY)->reply.count, 1); /* proposed: nothing referred to it yet */
	assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	world_run(&w, 2 * SIM_S);
	assert_int_equal(blob_in(&w, &content)->references, 1);
	assert_int_equal(fetch(&c, 1, &content, 0), ERR_OK);
	free(content.bytes);
	buf_free(&out);
	buf_free(&head);
	client_free(&c);
	world_close(&w);
}

static void a_queue_can_ask_for_blobs(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct msg_request create = { .verb = VERB_QUEUE_CREATE, .name = span_str("small"), .settings = QUEUE_SETTINGS_UNSET };
	create.settings.inline_max = 100;
	create.settings.length_max = 1000;
	assert_int_equal(client_ask(&c, create)->code, ERR_OK);
	client_submit(&c, (struct submit_args){ .type = "small", .producer = 1, .first_seq = 1, .count = 1, .size = 101,
					   .confirm = CONFIRM_DURABLE });
	struct msg *m = client_expect(&c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_SPILL);
	assert_non_null(memmem(m->confirms.text.data, m->confirms.text.len, "inline_max", 10));
	client_submit(&c, (struct submit_args){ .type = "small", .producer = 1, .first_seq = 2, .count = 1, .size = 100,
					   .confirm = CONFIRM_DURABLE });
	assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	struct content content = content_of(101, 1);
	(void)store(&c, 1, &content);
	submit_blob(&c, &content, 3, "small");
	assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

/* ---- verbs ---- */

static struct msg_reply *ask_blob(struct client *c, enum verb verb, const struct content *content, const char *pin)
{
	static struct buf spec;
	struct blob_info info = { .digest = content ? span_of(content->digest, BLOB_DIGEST) : span_of(NULL, 0), .pin = span_str(pin) };
	spec.len = 0;
	blob_info_encode(&spec, &info);
	struct msg_request r = { .verb = (uint16_t)verb, .settings = QUEUE_SETTINGS_UNSET, .spec = content ? buf_span(&spec) : span_of(NULL, 0) };
	return client_ask(c, r);
}

static void verbs_list_pin_remove_and_collect(void **unused)
{
	struct world w;
	struct client c;
	struct blob_info info;
	char text[128];
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content one = content_of(100, 1), two = content_of(200, 2), none = content_of(5, 9);
	(void)store(&c, 1, &one);
	(void)store(&c, 2, &two);
	struct msg_reply *r = ask_blob(&c, VERB_BLOB_LIST, NULL, NULL);
	assert_int_equal(r->count, 2);
	r = ask_blob(&c, VERB_BLOB_SHOW, &one, NULL);
	assert_int_equal(r->spec_count, 1);
	assert_int_equal(blob_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	assert_true(info.size == 100 && info.references == 0 && info.unreferenced_ms > 0 && info.pin_count == 0 && !info.damaged);
	assert_true(span_eq(info.media_type, span_str("image/png")) && span_eq(info.vnet, span_str("default")));
	assert_int_equal(ask_blob(&c, VERB_BLOB_SHOW, &none, NULL)->code, ERR_NOT_FOUND);
	assert_int_equal(ask_blob(&c, VERB_BLOB_PIN, &one, "release")->code, ERR_OK);
	assert_int_equal(ask_blob(&c, VERB_BLOB_PIN, &one, "release")->code, ERR_OK);
	assert_int_equal(ask_blob(&c, VERB_BLOB_PIN, &one, "")->code, ERR_INVALID_INPUT);
	assert_int_equal(ask_blob(&c, VERB_BLOB_UNPIN, &one, "other")->code, ERR_NOT_FOUND);
	r = ask_blob(&c, VERB_BLOB_SHOW, &one, NULL);
	assert_int_equal(blob_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	assert_true(info.pin_count == 1 && span_eq(info.pins[0], span_str("release")) && info.unreferenced_ms == 0);
	assert_int_equal(ask_blob(&c, VERB_BLOB_REMOVE, &one, NULL)->code, ERR_WRONG_STATE);
	assert_int_equal(ask_blob(&c, VERB_BLOB_COLLECT, NULL, NULL)->count, 1); /* two */
	world_run(&w, 2 * SIM_S);
	assert_null(blob_in(&w, &two));
	assert_int_equal(files_of(&w).whole, 1);
	assert_int_equal(ask_blob(&c, VERB_BLOB_SCRUB, NULL, NULL)->count, 1);
	world_run(&w, 2 * SIM_S);
	assert_true(stat_of(&w, "blobs_scrubbed_total") == 1);
	assert_int_equal(ask_blob(&c, VERB_BLOB_UNPIN, &one, "release")->code, ERR_OK);
	assert_int_equal(ask_blob(&c, VERB_BLOB_REMOVE, &one, NULL)->code, ERR_OK);
	world_run(&w, 2 * SIM_S);
	assert_int_equal(files_of(&w).whole, 0);
	assert_int_equal(ask_blob(&c, VERB_BLOB_REMOVE, &one, NULL)->code, ERR_NOT_FOUND);
	free(one.bytes);
	free(two.bytes);
	free(none.bytes);
	client_free(&c);
	world_close(&w);
}

/* ---- damage, restarts ---- */

static void a_damaged_blob_is_an_error_and_the_same_content_takes_its_place(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(CHUNK - 1, 1); /* not as a whole chunk from file to socket */
	uint64_t number = store(&c, 1, &content)->number;
	assert_int_equal(sim_flip(w.sim, 0, files_of(&w).last, CHUNK / 2, 1), 0);
	send_get(&c, 1, &content, 0, 0, UINT64_MAX);
	const struct msg_blob_data *d;
	do {
		d = &client_expect(&c, FRAME_BLOB_DATA)->blob_data;
		assert_false(d->end);
	} while (d->code == ERR_OK);
	assert_int_equal(d->code, ERR_DAMAGED);
	assert_true(blob_in(&w, &content)->damaged);
	submit_blob(&c, &content, 1, "work"); /* it still is what it is */
	assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	assert_true(store(&c, 2, &content)->number != number);
	assert_false(blob_in(&w, &content)->damaged);
	assert_int_equal(blob_in(&w, &content)->references, 1);
	assert_int_equal(fetch(&c, 2, &content, 0), ERR_OK);
	world_run(&w, 2 * SIM_S);
	assert_int_equal(files_of(&w).whole, 1);
	/* A reader that has found out for itself. */
	assert_int_equal(sim_flip(w.sim, 0, files_of(&w).last, 5, 1), 0);
	send_get(&c, 3, &content, 100, 0, UINT64_MAX);
	assert_true(client_expect(&c, FRAME_BLOB_DATA)->blob_data.end);
	struct msg m = { .kind = FRAME_BLOB_MORE };
	m.blob_more = (struct msg_blob_more){ .read = 3, .damaged = true };
	client_send(&c, &m, 0, span_of(NULL, 0));
	world_run(&w, 2 * SIM_S);
	assert_true(blob_in(&w, &content)->damaged);
	free(content.bytes);
	client_free(&c);
	world_close(&w);
}

static void after_a_restart_blobs_are_there_and_what_nobody_has_is_removed(void **unused)
{
	struct world w;
	struct client c;
	(void)unused;
	world_init(&w);
	world_open(&w);
	client_open(&c, &w, 1);
	struct content content = content_of(1000, 1), half = content_of(2 * CHUNK, 2), gone = content_of(300, 3);
	(void)store(&c, 1, &content);
	uint64_t number = store(&c, 2, &gone)->number;
	send_put(&c, (struct msg_blob_put){ .upload = 3, .size = half.len });
	(void)feed(&c, 3, &half, 0, CHUNK, *state_of(&c));
	world_run(&w, SIM_S);
	sim_crash(w.sim, 0, SIM_KILL);
	sim_bury(w.sim, 0);
	shard_close(w.shard);
	w.io->v->free(w.io);
	client_free(&c);
	w.io = sim_restart(w.sim, 0);
	char orphan[160], name[BLOB_NAME_BYTES];
	(void)snprintf(orphan, sizeof orphan, "blobs/%02x/%s-%016x", half.digest[0], blob_name(half.digest, name) + 7, 77);
	sim_plant(w.sim, 0, orphan, span_str("of an upload whose record was lost"));
	(void)snprintf(orphan, sizeof orphan, "blobs/%02x/%s-%016llx", gone.digest[0], blob_name(gone.digest, name) + 7,
		       (unsigned long long)number);
	(void)w.io->v->unlink(w.io, orphan);
	world_open(&w);
	world_run(&w, 3 * SIM_S);
	assert_int_equal(files_of(&w).parts, 0);
	client_open(&c, &w, 1);
	assert_int_equal(fetch(&c, 1, &content, 0), ERR_OK);
	assert_non_null(blob_in(&w, &content));
	assert_true(blob_in(&w, &gone)->damaged); /* found missing */
	assert_int_equal(fetch(&c, 2, &gone, 0), ERR_DAMAGED);
	assert_int_equal(files_of(&w).whole, 1);
	free(content.bytes);
	free(half.bytes);
	free(gone.bytes);
	client_free(&c);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_goes_in_comes_out),
		cmocka_unit_test(what_cannot_go_from_file_to_socket_goes_through_memory),
		cmocka_unit_test(a_part_of_a_blob_is_what_was_asked_for),
		cmocka_unit_test(a_store_without_urls_says_so),
		cmocka_unit_test(what_is_there_is_not_sent_again),
		cmocka_unit_test(what_does_not_fit_is_refused_and_leaves_nothing),
		cmocka_unit_test(chunks_that_come_twice_are_dropped),
		cmocka_unit_test(limits_are_refusals_that_name_them),
		cmocka_unit_test(a_full_disk_refuses_blobs_and_leaves_nothing),
		cmocka_unit_test(without_memory_uploads_wait_for_each_other),
		cmocka_unit_test(an_upload_goes_on_after_a_cut),
		cmocka_unit_test(an_upload_ends_with_its_session),
		cmocka_unit_test(an_upload_that_stands_still_ends),
		cmocka_unit_test(tasks_results_and_yields_hold_their_blobs),
		cmocka_unit_test(a_collection_behind_a_submission_takes_nothing),
		cmocka_unit_test(a_queue_can_ask_for_blobs),
		cmocka_unit_test(verbs_list_pin_remove_and_collect),
		cmocka_unit_test(a_damaged_blob_is_an_error_and_the_same_content_takes_its_place),
		cmocka_unit_test(after_a_restart_blobs_are_there_and_what_nobody_has_is_removed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
