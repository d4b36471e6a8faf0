/* tests/unit/test_log_recover.c: torn is cut, damaged is refused, missing is never empty. */
#include <errno.h>

#include "log_world.h"

#include "../../storage/log_internal.h"

static int set_up(void **state)
{
	return world_set_up(state, 23);
}

static void crash(struct world *w, enum sim_crash_pattern pattern)
{
	sim_crash(w->sim, 0, pattern);
	sim_bury(w->sim, 0);
	model_close(&w->m);
	w->m.config.io->v->free(w->m.config.io);
	w->m.config.io = sim_restart(w->sim, 0);
}

static enum err try_open(struct world *w)
{
	enum err e = model_open(&w->m);

	if (e != ERR_OK) { /* the lock stays until the io goes */
		w->m.config.io->v->free(w->m.config.io);
		w->m.config.io = sim_restart(w->sim, 0);
	}
	return e;
}

/* One item per batch, so that offsets are known: item i of a new store is at block i + 2. */
static void put_singly(struct world *w, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		assert_true(model_put(&w->m, 200));
		model_settle_down(&w->m);
	}
}

static void put_all(struct world *w, uint64_t count, uint32_t size)
{
	for (uint64_t i = 0; i < count;) {
		if (model_put(&w->m, size))
			i++;
		else
			model_turn(&w->m, 1000000);
	}
	model_settle_down(&w->m);
}

static uint64_t item_block(const struct world *w, uint64_t number)
{
	return log_addr_offset(w->m.items[number].addr) / DISK_BLOCK * DISK_BLOCK;
}

#define FIRST "seg-00000001.log"

static void test_a_missing_store_is_created_only_when_asked(void **state)
{
	struct world *w = *state;

	w->m.config.create = false;
	assert_int_equal(try_open(w), ERR_NOT_FOUND);
	w->m.config.create = true;
	open_log(w);
	stop(w);
	w->m.config.create = false;
	open_log(w);
}

static void test_a_directory_in_use_is_refused(void **state)
{
	struct world *w = *state;
	struct model other;

	open_log(w);
	model_init(&other, w->m.config.io);
	assert_int_equal(model_open(&other), ERR_LOCKED);
	model_free(&other);
}

static void test_a_torn_last_batch_is_cut_and_does_not_come_back(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 5);
	for (int round = 0; round < 3; round++) {
		/* A big batch in flight, of which every second sector reaches the platter. */
		for (int i = 0; i < 40; i++)
			assert_true(model_put(&w->m, 1000));
		log_flush(w->m.log, io_wall_ms(w->m.config.io));
		crash(w, SIM_CRASH_EVEN);
		open_log(w);
		assert_int_equal(w->m.count, 5);
		assert_false(w->m.failed);
	}
	put_singly(w, 3);
	stop(w);
	open_log(w);
	assert_int_equal(w->m.count, 8);
}

static void test_a_batch_in_flight_that_reached_the_disk_whole_is_kept(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 5);
	assert_true(model_put(&w->m, 1000));
	log_flush(w->m.log, io_wall_ms(w->m.config.io));
	crash(w, SIM_CRASH_KEEP_ALL);
	open_log(w);
	assert_true(w->m.count == 5 || w->m.count == 6);
	assert_false(w->m.failed);
}

static void test_damage_below_a_later_batch_is_refused_and_named(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 10);
	uint64_t at = item_block(w, 4);
	stop(w);
	assert_int_equal(sim_flip(w->sim, 0, FIRST, at + BATCH_HEADER + 40, 1), 0);
	assert_int_equal(try_open(w), ERR_DAMAGED);
	char offset[32];
	(void)snprintf(offset, sizeof offset, "offset %llu", (unsigned long long)at);
	assert_non_null(strstr(w->m.text, "segment 00000001"));
	assert_non_null(strstr(w->m.text, offset));
	assert_non_null(strstr(w->m.text, "confirmed"));
	/* Refusing changes nothing: without the damage everything is there. */
	assert_int_equal(sim_flip(w->sim, 0, FIRST, at + BATCH_HEADER + 40, 1), 0);
	open_log(w);
	assert_int_equal(w->m.count, 10);
}

static void test_every_confirmed_batch_below_the_last_is_protected_at_every_block(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 4);
	put_all(w, 30, 1000); /* one of several blocks */
	put_singly(w, 1);
	uint64_t first = item_block(w, 0), last = item_block(w, 34);
	stop(w);
	for (uint64_t at = first; at < last; at += 512) {
		assert_int_equal(sim_flip(w->sim, 0, FIRST, at + 17, 0x20), 0);
		enum err e = try_open(w);
		if (e == ERR_OK) { /* padding that no checksum covers: then nothing may be lost */
			assert_int_equal(w->m.count, 35);
			stop(w);
		} else {
			assert_int_equal(e, ERR_DAMAGED);
		}
		assert_int_equal(sim_flip(w->sim, 0, FIRST, at + 17, 0x20), 0);
	}
}

static void test_a_marked_last_batch_is_protected_too(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 3);
	for (int i = 0; i < 5; i++)
		model_turn(&w->m, 50000000); /* idle: the mark is written */
	uint64_t at = item_block(w, 2);
	stop(w);
	assert_int_equal(sim_flip(w->sim, 0, FIRST, at + BATCH_HEADER + 40, 1), 0);
	assert_int_equal(try_open(w), ERR_DAMAGED);
}

static void test_what_was_there_at_the_last_start_is_protected_by_the_vote_file(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 3);
	uint64_t at = item_block(w, 2);
	stop(w);
	open_log(w); /* writes how far the log went, and a barrier */
	stop(w);
	/* Damage the item, and wipe all that follows it. */
	uint8_t zeros[4 * DISK_BLOCK] = { 0 };
	struct buf file = { NULL, 0, 0 };
	assert_int_equal(sim_peek(w->sim, 0, FIRST, &file), 0);
	memcpy(file.data + at, zeros, sizeof zeros);
	sim_plant(w->sim, 0, FIRST, buf_span(&file));
	buf_free(&file);
	assert_int_equal(try_open(w), ERR_DAMAGED);
}

static void test_accepted_loss_drops_the_damaged_batch_only(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 10);
	uint64_t at = item_block(w, 9);
	put_singly(w, 1);
	stop(w);
	assert_int_equal(sim_flip(w->sim, 0, FIRST, at + BATCH_HEADER + 40, 1), 0);
	assert_int_equal(try_open(w), ERR_DAMAGED);
	w->m.config.accept_loss = true;
	open_log(w);
	assert_int_equal(w->m.count, 9); /* the model refuses item 10 without item 9, but all others are there */
	assert_non_null(strstr(w->m.notes, "loss accepted"));
	w->m.failed = false;
	model_settle_down(&w->m);
	stop(w);
	w->m.config.accept_loss = false; /* the checkpoint has passed the damage */
	open_log(w);
	assert_int_equal(w->m.count, 9);
	assert_false(w->m.failed);
	put_singly(w, 5);
	stop(w);
	open_log(w);
	assert_int_equal(w->m.count, 14);
	for (uint64_t i = 0; i < 14; i++)
		assert_true(model_item_right(&w->m, i));
}

static void test_an_unreadable_block_is_an_error_and_not_the_end(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_singly(w, 10);
	uint64_t at = item_block(w, 4);
	stop(w);
	assert_int_equal(sim_spoil(w->sim, 0, FIRST, at, 512), 0);
	enum err e = try_open(w);
	assert_true(e == ERR_IO || e == ERR_DAMAGED);
}

static void with_segments(struct world *w)
{
	open_log(w);
	put_all(w, 1500, 1000);
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	put_all(w, 10, 100);
	stop(w);
}

static void remove_named(struct world *w, const char *name)
{
	assert_int_equal(w->m.config.io->v->unlink(w->m.config.io, name), 0);
	assert_int_equal(w->m.config.io->v->sync_dir(w->m.config.io), 0);
}

static void test_missing_files_are_damage_and_never_a_fresh_start(void **state)
{
	static const char *const names[] = {
		"identity", "vote", "checkpoint", "seg-00000002.log",
	};
	struct world *w = *state;

	with_segments(w);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct buf saved = { NULL, 0, 0 };
		assert_int_equal(sim_peek(w->sim, 0, names[i], &saved), 0);
		if (strcmp(names[i], "checkpoint") == 0) { /* the log is whole: only with segment 1 gone is it needed */
			struct buf first = { NULL, 0, 0 };
			assert_int_equal(sim_peek(w->sim, 0, FIRST, &first), 0);
			remove_named(w, FIRST);
			remove_named(w, names[i]);
			assert_int_equal(try_open(w), ERR_DAMAGED);
			sim_plant(w->sim, 0, FIRST, buf_span(&first));
			buf_free(&first);
		} else {
			remove_named(w, names[i]);
			assert_int_equal(try_open(w), ERR_DAMAGED);
		}
		assert_non_null(strstr(w->m.text, "missing") ?: strstr(w->m.text, "no file"));
		sim_plant(w->sim, 0, names[i], buf_span(&saved));
		buf_free(&saved);
		open_log(w);
		assert_int_equal(w->m.count, 1510);
		stop(w);
	}
}

static void test_a_missing_active_segment_is_noticed(void **state)
{
	struct world *w = *state;
	char name[SEGMENT_NAME_MAX];

	open_log(w);
	put_all(w, 600, 1000); /* segments 1 and 2 are full */
	uint32_t active = w->m.log->segments.active;
	assert_true(active >= 3);
	for (int i = 0; i < 50; i++) /* until the indexes are durable: they are the proof */
		model_turn(&w->m, 1000000);
	stop(w);
	for (uint32_t n = active; n < active + 2; n++) {
		segment_name(name, n, "log");
		(void)w->m.config.io->v->unlink(w->m.config.io, name);
	}
	assert_int_equal(try_open(w), ERR_DAMAGED);
	assert_non_null(strstr(w->m.text, "missing"));
}

static void test_a_damaged_checkpoint_is_replaced_by_a_whole_log(void **state)
{
	struct world *w = *state;

	with_segments(w);
	assert_int_equal(sim_flip(w->sim, 0, "checkpoint", 100, 4), 0);
	open_log(w);
	assert_int_equal(w->m.count, 1510);
	assert_int_equal(w->m.replayed, 1510);
	assert_non_null(strstr(w->m.notes, "damaged"));
	stop(w);
	/* With segment 1 gone the log alone is not enough. */
	assert_int_equal(sim_flip(w->sim, 0, "checkpoint", 100, 4), 0);
	remove_named(w, FIRST);
	assert_int_equal(try_open(w), ERR_DAMAGED);
}

static void same_as_before(struct world *w, const char *name, const struct buf *before)
{
	struct buf now = { NULL, 0, 0 };

	assert_int_equal(sim_peek(w->sim, 0, name, &now), 0);
	assert_int_equal(now.len, before->len);
	assert_memory_equal(now.data, before->data, now.len);
	buf_free(&now);
}

static void test_an_index_that_is_lost_is_made_anew_from_its_segment(void **state)
{
	static const char name[] = "seg-00000002.idx";
	struct world *w = *state;
	struct buf before = { NULL, 0, 0 };

	with_segments(w);
	assert_int_equal(sim_peek(w->sim, 0, name, &before), 0);
	for (int damaged = 0; damaged < 2; damaged++) {
		if (damaged)
			assert_int_equal(sim_flip(w->sim, 0, name, 30, 4), 0);
		else
			remove_named(w, name);
		open_log(w);
		assert_int_equal(w->m.count, 1510);
		assert_true(w->m.replayed < 1510); /* not by replaying everything */
		for (uint64_t i = 0; i < 1500; i += 7)
			assert_true(model_item_right(&w->m, i));
		assert_non_null(strstr(w->m.notes, damaged ? "is damaged" : "is missing"));
		assert_non_null(strstr(w->m.notes, "made anew"));
		stop(w);
		same_as_before(w, name, &before);
		open_log(w);
		assert_null(strstr(w->m.notes, "made anew"));
		stop(w);
	}
	buf_free(&before);
}

static void test_an_index_is_not_made_from_a_segment_that_cannot_be_read(void **state)
{
	static const char name[] = "seg-00000002.idx", segment[] = "seg-00000002.log";
	struct world *w = *state;
	struct buf none = { NULL, 0, 0 };

	with_segments(w);
	remove_named(w, name);
	assert_int_equal(sim_flip(w->sim, 0, segment, 9000, 4), 0);
	assert_int_equal(try_open(w), ERR_DAMAGED);
	assert_non_null(strstr(w->m.text, "missing"));
	assert_non_null(strstr(w->m.text, "segment 00000002"));
	assert_true(sim_peek(w->sim, 0, name, &none) < 0);
	assert_int_equal(sim_flip(w->sim, 0, segment, 9000, 4), 0);
	open_log(w);
	assert_int_equal(w->m.count, 1510);
}

static void test_making_an_index_anew_can_fail_at_any_call_and_is_done_again(void **state)
{
	static const char name[] = "seg-00000002.idx";
	struct world *w = *state;
	struct buf before = { NULL, 0, 0 };
	uint32_t refused = 0;
	bool fired = true;

	with_segments(w);
	assert_int_equal(sim_peek(w->sim, 0, name, &before), 0);
	for (uint64_t at = 0; fired; at++) {
		remove_named(w, name);
		sim_fail_call(w->sim, sim_calls(w->sim) + at, EIO, false);
		enum err e = try_open(w);
		fired = sim_fault_fired(w->sim);
		sim_fail_none(w->sim);
		refused += e != ERR_OK;
		if (e == ERR_OK)
			stop(w);
		open_log(w);
		assert_int_equal(w->m.count, 1510);
		assert_true(model_item_right(&w->m, 700));
		stop(w);
		same_as_before(w, name, &before);
	}
	assert_true(refused > 10);
	buf_free(&before);
}

static void test_a_damaged_vote_or_identity_is_refused(void **state)
{
	static const char *const names[] = { "vote", "identity" };
	struct world *w = *state;

	with_segments(w);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		assert_int_equal(sim_flip(w->sim, 0, names[i], 30, 4), 0);
		assert_int_equal(try_open(w), ERR_DAMAGED);
		assert_non_null(strstr(w->m.text, names[i]));
		assert_int_equal(sim_flip(w->sim, 0, names[i], 30, 4), 0);
	}
	open_log(w);
}

static void test_files_of_another_store_are_refused(void **state)
{
	struct world *w = *state;
	struct sim *other = sim_new(99);
	struct model m;
	struct buf vote = { NULL, 0, 0 }, segment = { NULL, 0, 0 };

	open_log(w);
	put_singly(w, 3);
	stop(w);
	model_init(&m, sim_node_io(other, 0));
	assert_int_equal(model_open(&m), ERR_OK);
	model_close(&m);
	assert_int_equal(sim_peek(other, 0, "vote", &vote), 0);
	assert_int_equal(sim_peek(other, 0, FIRST, &segment), 0);
	m.config.io->v->free(m.config.io);
	model_free(&m);
	sim_free(other);

	struct buf own = { NULL, 0, 0 };
	assert_int_equal(sim_peek(w->sim, 0, "vote", &own), 0);
	sim_plant(w->sim, 0, "vote", buf_span(&vote));
	assert_int_equal(try_open(w), ERR_FOREIGN);
	sim_plant(w->sim, 0, "vote", buf_span(&own));
	sim_plant(w->sim, 0, FIRST, buf_span(&segment));
	assert_int_equal(try_open(w), ERR_DAMAGED);
	buf_free(&own);
	buf_free(&vote);
	buf_free(&segment);
}

static void test_a_creation_that_was_cut_short_is_done_again(void **state)
{
	struct world *w = *state;
	uint64_t calls = 0;

	for (uint64_t at = 0;; at++) { /* fail each call of the creation once, then start again */
		sim_fail_call(w->sim, sim_calls(w->sim) + at, EIO, false);
		uint64_t before = sim_calls(w->sim);
		enum err e = try_open(w);
		bool fired = sim_fault_fired(w->sim);
		sim_fail_none(w->sim);
		calls = sim_calls(w->sim) - before;
		if (!fired) {
			assert_int_equal(e, ERR_OK);
			break;
		}
		if (e == ERR_OK) {
			stop(w);
			continue;
		}
		open_log(w);
		stop(w);
	}
	assert_true(calls > 10);
	put_singly(w, 2);
}

static void test_a_smaller_segment_size_works_on_an_older_store(void **state)
{
	struct world *w = *state;

	w->m.config.segment_bytes = 1 << 20;
	open_log(w);
	put_all(w, 600, 1000);
	stop(w);
	w->m.config.segment_bytes = 256 << 10;
	open_log(w);
	put_all(w, 600, 1000);
	stop(w);
	w->m.config.segment_bytes = 512 << 10;
	open_log(w);
	put_all(w, 600, 1000);
	stop(w);
	open_log(w);
	assert_int_equal(w->m.count, 1800);
	for (uint64_t i = 0; i < 1800; i += 7)
		assert_true(model_item_right(&w->m, i));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_missing_store_is_created_only_when_asked),
		TEST(test_a_directory_in_use_is_refused),
		TEST(test_a_torn_last_batch_is_cut_and_does_not_come_back),
		TEST(test_a_batch_in_flight_that_reached_the_disk_whole_is_kept),
		TEST(test_damage_below_a_later_batch_is_refused_and_named),
		TEST(test_every_confirmed_batch_below_the_last_is_protected_at_every_block),
		TEST(test_a_marked_last_batch_is_protected_too),
		TEST(test_what_was_there_at_the_last_start_is_protected_by_the_vote_file),
		TEST(test_accepted_loss_drops_the_damaged_batch_only),
		TEST(test_an_unreadable_block_is_an_error_and_not_the_end),
		TEST(test_missing_files_are_damage_and_never_a_fresh_start),
		TEST(test_a_missing_active_segment_is_noticed),
		TEST(test_a_damaged_checkpoint_is_replaced_by_a_whole_log),
		TEST(test_an_index_that_is_lost_is_made_anew_from_its_segment),
		TEST(test_an_index_is_not_made_from_a_segment_that_cannot_be_read),
		TEST(test_making_an_index_anew_can_fail_at_any_call_and_is_done_again),
		TEST(test_a_damaged_vote_or_identity_is_refused),
		TEST(test_files_of_another_store_are_refused),
		TEST(test_a_creation_that_was_cut_short_is_done_again),
		TEST(test_a_smaller_segment_size_works_on_an_older_store),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
