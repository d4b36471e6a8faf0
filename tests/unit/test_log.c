/* tests/unit/test_log.c: a log in a world without faults: append, flush, apply, fetch, rotate, seal, checkpoint, delete, reopen. */
#include <errno.h>

#include "log_world.h"

#include "../../storage/log_internal.h"

static int set_up(void **state)
{
	return world_set_up(state, 11);
}

/* A clean stop and a new process. */
static void reopen(struct world *w)
{
	stop(w);
	open_log(w);
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

static void settle_range(struct world *w, uint64_t from, uint64_t to)
{
	while (from < to) {
		if (model_settle(&w->m, from))
			from++;
		else
			model_turn(&w->m, 1000000);
	}
	model_settle_down(&w->m);
}

static void check_items(struct world *w, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		assert_true(model_item_right(&w->m, i));
}

static void test_a_record_is_applied_only_after_its_write_has_come_back(void **state)
{
	struct world *w = *state;

	open_log(w);
	assert_true(model_put(&w->m, 100));
	assert_true(log_busy(w->m.log));
	log_flush(w->m.log, 1000);
	log_drive(w->m.log);
	assert_int_equal(w->m.count, 0);
	model_settle_down(&w->m);
	assert_int_equal(w->m.count, 1);
	check_items(w, 0, 1);
}

static void test_records_of_one_turn_are_one_batch_and_one_write(void **state)
{
	struct world *w = *state;
	struct log_stats before, after;

	open_log(w);
	log_get_stats(w->m.log, &before);
	uint64_t writes = sim_calls_of(w->sim, SIM_WRITE);
	put_all(w, 100, 64);
	log_get_stats(w->m.log, &after);
	assert_int_equal(after.batches, before.batches + 1);
	assert_int_equal(after.records, before.records + 100);
	assert_int_equal(sim_calls_of(w->sim, SIM_WRITE), writes + 1);
	assert_int_equal(after.index, before.index + 1);
}

static void test_the_next_batch_fills_while_one_is_in_flight(void **state)
{
	struct world *w = *state;

	open_log(w);
	assert_true(model_put(&w->m, 64));
	log_flush(w->m.log, 1000);
	assert_true(model_put(&w->m, 64));
	uint64_t writes = sim_calls_of(w->sim, SIM_WRITE);
	log_flush(w->m.log, 1000);
	assert_int_equal(sim_calls_of(w->sim, SIM_WRITE), writes);
	model_settle_down(&w->m);
	assert_int_equal(w->m.count, 2);
}

static void test_a_record_above_the_batch_size_is_refused_and_one_of_that_size_fits(void **state)
{
	struct world *w = *state;
	uint64_t addr;

	open_log(w);
	uint32_t most = w->m.config.batch_bytes;
	assert_null(log_append(w->m.log, 1, most + 1, &addr));
	assert_int_equal(log_append_room(w->m.log), most);
	assert_true(model_put(&w->m, most));
	assert_null(log_append(w->m.log, 1, 8, &addr));
	assert_int_equal(log_append_room(w->m.log), 0);
	model_settle_down(&w->m);
	check_items(w, 0, 1);
}

static void test_append_room_says_exactly_what_fits(void **state)
{
	struct world *w = *state;
	uint64_t addr;

	open_log(w);
	for (uint32_t size = 9; size < 9000; size = size * 2 + 1) {
		assert_true(model_put(&w->m, size));
		size_t room = log_append_room(w->m.log);
		assert_null(log_append(w->m.log, 1, room + 1, &addr));
	}
	assert_true(model_put(&w->m, (uint32_t)log_append_room(w->m.log)));
	assert_int_equal(log_append_room(w->m.log), 0);
	model_settle_down(&w->m);
	check_items(w, 0, w->m.count);
}

static void test_entry_time_never_goes_back(void **state)
{
	struct world *w = *state;

	open_log(w); /* the model checks it at each apply */
	for (int i = 0; i < 20; i++) {
		sim_wall_jump(w->sim, i % 2 ? -3600000 : 1800000);
		put_all(w, 1, 64);
	}
	assert_int_equal(w->m.count, 20);
}

static void test_items_survive_a_restart(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_all(w, 50, 300);
	reopen(w);
	assert_int_equal(w->m.count, 50);
	assert_int_equal(w->m.replayed, 50);
	assert_false(w->m.failed);
	check_items(w, 0, 50);
	put_all(w, 50, 300);
	reopen(w);
	assert_int_equal(w->m.count, 100);
	check_items(w, 0, 100);
}

static void test_every_start_takes_a_new_term(void **state)
{
	struct world *w = *state;
	struct log_stats stats;
	uint64_t last = 0;

	open_log(w);
	for (int i = 0; i < 5; i++) {
		log_get_stats(w->m.log, &stats);
		assert_true(stats.term > last);
		last = stats.term;
		reopen(w);
	}
}

static void test_full_segments_are_sealed_and_a_restart_reads_their_indexes(void **state)
{
	struct world *w = *state;
	struct log_stats stats;

	open_log(w);
	put_all(w, 1500, 1000);
	log_get_stats(w->m.log, &stats);
	assert_true(stats.segments >= 6);
	assert_true(stats.checkpoints >= 1);
	reopen(w);
	assert_int_equal(w->m.count, 1500);
	assert_true(w->m.replayed < 1000);
	assert_false(w->m.failed);
	check_items(w, 0, 1500);
}

static void test_a_checkpoint_on_demand_leaves_nothing_to_replay(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_all(w, 20, 100);
	log_checkpoint_now(w->m.log);
	assert_true(log_busy(w->m.log));
	model_settle_down(&w->m);
	reopen(w);
	assert_int_equal(w->m.count, 20);
	assert_int_equal(w->m.replayed, 0);
	check_items(w, 0, 20);
	/* Twice, with nothing in between, is no harm. */
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	reopen(w);
	check_items(w, 0, 20);
}

static void test_settled_segments_are_deleted_and_a_living_one_pins_no_other(void **state)
{
	struct world *w = *state;
	struct log_stats stats;
	struct log_record record;

	open_log(w);
	put_all(w, 1500, 1000);
	settle_range(w, 1, 1500); /* item 0 lives on in the first segment */
	uint64_t gone = w->m.items[600].addr;
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	log_get_stats(w->m.log, &stats);
	assert_true(stats.segments <= 3);
	assert_int_equal(log_fetch(w->m.log, gone, &record), ERR_NOT_FOUND);
	check_items(w, 0, 1);
	reopen(w);
	assert_int_equal(w->m.count, 1500);
	assert_true(w->m.items[0].known);
	assert_false(w->m.items[0].settled);
	assert_true(w->m.items[1499].settled);
	check_items(w, 0, 1);
}

static void test_fetch_finds_pending_cached_and_cold_records(void **state)
{
	struct world *w = *state;
	struct log_record record;
	struct log_stats stats;

	open_log(w);
	uint64_t addr;
	uint8_t *body = log_append(w->m.log, MODEL_PUT, 40, &addr);
	assert_non_null(body);
	memset(body, 0, 40);
	assert_int_equal(log_fetch(w->m.log, addr, &record), ERR_OK);
	assert_ptr_equal(record.body.data, body);
	w->m.proposed++;
	put_all(w, 2000, 700);
	log_get_stats(w->m.log, &stats);
	assert_int_equal(stats.cache_misses, 0);
	for (uint64_t i = 1; i < 2001; i++)
		assert_true(model_item_right(&w->m, i));
	log_get_stats(w->m.log, &stats);
	assert_true(stats.cache_misses > 0);
	assert_true(stats.cache_misses < 200); /* neighbours come with one read */
	assert_true(w->m.fetched > 0);
	assert_true(stats.cache_bytes <= 2 * w->m.config.cache_bytes);
}

static void test_more_cold_fetches_than_reads_are_put_off_and_then_served(void **state)
{
	struct world *w = *state;
	struct log_record record;
	unsigned refused = 0, waiting = 0;

	open_log(w);
	put_all(w, 3000, 1000);
	for (uint64_t i = 0; i < 2000; i += 40) {
		enum err e = log_fetch(w->m.log, w->m.items[i].addr, &record);
		refused += e == ERR_RESOURCE_EXHAUSTED;
		waiting += e == ERR_AGAIN;
	}
	assert_int_equal(waiting, LOG_READS_MAX);
	assert_true(refused > 0);
	for (int turn = 0; w->m.fetched < LOG_READS_MAX; turn++) {
		assert_true(turn < 1000);
		model_turn(&w->m, 1000000);
	}
	assert_int_equal(w->m.fetched, LOG_READS_MAX);
	check_items(w, 0, 100);
}

/* Fetches the items one after the other, a turn between them. How often one had to be waited for. */
static unsigned work_off(struct world *w, uint64_t count, bool fail_ahead)
{
	struct cache *c = &w->m.log->cache;
	struct log_record record;
	unsigned waits = 0;

	for (uint64_t i = 0; i < count; i++) {
		waits += log_fetch(w->m.log, w->m.items[i].addr, &record) == ERR_AGAIN;
		assert_true(model_item_right(&w->m, i));
		model_turn(&w->m, 1000000);
		for (uint32_t k = 0; fail_ahead && k < c->chunk_count; k++)
			if (c->chunks[k]->ahead && c->chunks[k]->state == CHUNK_READY)
				c->chunks[k]->state = CHUNK_FAILED;
	}
	return waits;
}

static void test_a_backlog_that_is_worked_off_is_read_ahead(void **state)
{
	struct world *w = *state;
	struct log_stats stats;

	w->m.config.cache_bytes = 1 << 20;
	open_log(w);
	put_all(w, 6000, 700); /* of them nearly 200 of the smallest reads are no longer in memory */
	assert_in_range(work_off(w, 4000, false), 1, 60);
	log_get_stats(w->m.log, &stats);
	assert_true(stats.cache_bytes <= 2 * w->m.config.cache_bytes);
}

static void test_what_could_not_be_read_ahead_is_read_when_it_is_asked_for(void **state)
{
	struct world *w = *state;

	w->m.config.cache_bytes = 1 << 20;
	open_log(w);
	put_all(w, 6000, 700);
	assert_in_range(work_off(w, 4000, true), 1, 400); /* and none of them is damaged */
}

static void test_a_cold_record_bigger_than_a_chunk_is_read_whole(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_all(w, 1, 60000);
	put_all(w, 2000, 1000);
	check_items(w, 0, 2);
}

static void test_the_cache_keeps_to_its_size_and_gives_back_its_memory(void **state)
{
	struct world *w = *state;
	struct log_stats stats;

	open_log(w);
	log_get_stats(w->m.log, &stats);
	assert_true(stats.cache_bytes <= 2 * DISK_BLOCK); /* idle: next to nothing */
	for (int i = 0; i < 50; i++) {
		put_all(w, 100, 500);
		log_get_stats(w->m.log, &stats);
		assert_true(stats.cache_bytes <= w->m.config.cache_bytes + 4 * w->m.config.batch_bytes);
	}
}

/* Batches of one item each, so that the segment is written to in small steps. */
static void put_singly(struct world *w, uint64_t count, uint32_t size)
{
	for (uint64_t i = 0; i < count; i++)
		put_all(w, 1, size);
}

static void test_the_next_segment_is_zeroed_ahead(void **state)
{
	struct world *w = *state;

	open_log(w);
	uint64_t syncs = sim_calls_of(w->sim, SIM_SYNC);
	put_singly(w, 50, 3000);
	for (int i = 0; i < 20; i++)
		model_turn(&w->m, 1000000);
	assert_int_equal(w->m.log->segments.next, NEXT_READY);
	assert_true(sim_calls_of(w->sim, SIM_SYNC) > syncs);
}

static void test_large_batches_get_no_zeros_until_they_are_small_again(void **state)
{
	struct world *w = *state;

	open_log(w);
	struct segments *s = &w->m.log->segments;
	put_all(w, 40, 1000);
	put_all(w, 40, 1000);
	put_all(w, 40, 1000);
	uint32_t number = s->active;
	while (s->active < number + 3) {
		put_all(w, 40, 1000);
		assert_false(s->zero_busy);
		assert_int_not_equal(s->next, NEXT_READY);
	}
	for (int i = 0; s->next != NEXT_READY; i++) {
		assert_true(i < 200);
		put_singly(w, 1, 3000);
	}
	check_items(w, 0, w->m.count);
	reopen(w);
	check_items(w, 0, w->m.count);
}

static void test_what_is_left_of_a_segment_is_zeroed_when_it_takes_writes_after_a_start(void **state)
{
	struct world *w = *state;
	struct log_stats before, after;

	w->m.config.segment_bytes = 1 << 20; /* so that the next one is not due for its zeros */
	for (int start = 0; start < 2; start++) {
		open_log(w);
		log_get_stats(w->m.log, &before);
		uint64_t writes = sim_calls_of(w->sim, SIM_WRITE), syncs = sim_calls_of(w->sim, SIM_SYNC);
		for (int i = 0; i < 20; i++)
			model_turn(&w->m, 1000000);
		assert_int_equal(sim_calls_of(w->sim, SIM_SYNC), syncs); /* not before there is something to store */
		put_singly(w, 18, 3000);
		for (int i = 0; i < 20; i++)
			model_turn(&w->m, 1000000);
		log_get_stats(w->m.log, &after);
		assert_int_equal(sim_calls_of(w->sim, SIM_WRITE) - writes, after.batches - before.batches + 1);
		assert_int_equal(sim_calls_of(w->sim, SIM_SYNC), syncs + 1);
		check_items(w, 0, w->m.count);
		stop(w);
	}
	open_log(w);
	assert_int_equal(w->m.count, 36);
	check_items(w, 0, 36);
}

static void slow_writes(struct world *w, uint64_t ns)
{
	struct sim_latency fast = { 20 * SIM_US, 60 * SIM_US };
	sim_disk_speed(w->sim, 0, (struct sim_disk_speed){ fast, { ns, ns }, fast });
}

/* Opens, and writes until zeros are on their way to the active segment; they take `ns`. */
static void open_and_zero(struct world *w, uint64_t ns)
{
	open_log(w);
	struct segments *s = &w->m.log->segments;
	while (s->end + DISK_BLOCK < s->zero_at)
		put_all(w, 1, 3000);
	assert_true(model_put(&w->m, 3000));
	slow_writes(w, ns);
	for (int i = 0; !s->zero_busy; i++) {
		assert_true(i < 1000);
		model_turn(&w->m, 1000000);
	}
	slow_writes(w, 50 * SIM_US);
	model_settle_down(&w->m);
	assert_true(segments_zeroing(s, s->active));
}

static void test_a_batch_waits_for_the_zeros_where_it_goes_and_for_no_others(void **state)
{
	struct world *w = *state;

	w->m.config.batch_bytes = 40 << 10;
	open_and_zero(w, 100 * SIM_MS);
	struct segments *s = &w->m.log->segments;
	uint64_t count = w->m.count;
	assert_true(model_put(&w->m, 40000));
	while (w->m.count == count) {
		assert_true(s->zero_busy); /* it went in front of them */
		model_turn(&w->m, 1000000);
	}
	assert_true(model_put(&w->m, 40000));
	while (s->zero_busy && s->zero_op.kind == IO_WRITE) {
		model_turn(&w->m, 1000000);
		assert_true(!w->m.log->flying || !s->zero_busy);
	}
	model_settle_down(&w->m);
	assert_int_equal(w->m.count, count + 2);
	reopen(w);
	assert_int_equal(w->m.count, count + 2);
	check_items(w, 0, count + 2);
}

static void test_a_large_batch_that_waits_for_zeros_is_written_before_the_next_of_them(void **state)
{
	struct world *w = *state;

	w->m.config.segment_bytes = 16 << 20;
	w->m.config.batch_bytes = 2 << 20;
	open_and_zero(w, 100 * SIM_MS);
	struct segments *s = &w->m.log->segments;
	const uint64_t zeros_at = s->zero_op.offset;
	uint64_t count = w->m.count;
	for (int i = 0; i < 30; i++)
		assert_true(model_put(&w->m, 50000)); /* more than one write of zeros, so that it would meet the next one, too */
	for (const uint64_t end = s->end; s->end == end; model_turn(&w->m, 1000000))
		assert_int_equal(s->zero_op.offset, zeros_at);
	model_settle_down(&w->m);
	assert_int_equal(w->m.count, count + 30);
	reopen(w);
	check_items(w, 0, count + 30);
}

static void test_a_segment_is_sealed_after_the_zeros_on_their_way_to_it(void **state)
{
	struct world *w = *state;
	struct io *io = w->m.config.io;
	char name[SEGMENT_NAME_MAX];

	open_and_zero(w, 100 * SIM_MS);
	struct segments *s = &w->m.log->segments;
	uint32_t number = s->active;
	log_checkpoint_now(w->m.log);
	for (int i = 0; log_busy(w->m.log); i++) {
		assert_true(i < 1000);
		model_turn(&w->m, 1000000);
	}
	assert_int_equal(s->active, number + 1);
	segment_name(name, number, "log");
	int file = io->v->open(io, name, IO_READONLY);
	assert_true(file >= 0);
	assert_int_equal(io->v->size(io, file), segments_find(s, number)->bytes);
	io->v->close(io, file);
	check_items(w, 0, w->m.count);
}

static void test_items_go_on_into_the_next_segment_while_zeros_are_on_their_way_to_the_one_before(void **state)
{
	struct world *w = *state;

	open_and_zero(w, 100 * SIM_MS);
	struct segments *s = &w->m.log->segments;
	uint32_t number = s->active;
	log_checkpoint_now(w->m.log);
	model_turn(&w->m, 1000000);
	assert_int_equal(s->active, number + 1);
	put_singly(w, 10, 3000);
	check_items(w, 0, w->m.count);
	uint64_t count = w->m.count;
	reopen(w);
	assert_int_equal(w->m.count, count);
	check_items(w, 0, count);
}

static void test_a_rotation_on_an_empty_disk_never_says_that_it_is_full(void **state)
{
	struct world *w = *state;
	struct log_stats before, after;

	open_log(w);
	log_get_stats(w->m.log, &before);
	for (int i = 0; i < 3000; i++) {
		(void)model_put(&w->m, 500);
		/* A turn appends, and so rotates, long before its log_drive prepares the segment after that. */
		assert_int_equal(log_room(w->m.log), LOG_ROOM_OK);
		model_turn(&w->m, 1000000);
	}
	log_get_stats(w->m.log, &after);
	assert_true(after.segments > before.segments + 2);
}

static void test_a_failed_write_stops_the_node_and_is_not_tried_again(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_all(w, 10, 100);
	assert_true(model_put(&w->m, 100));
	uint64_t writes = sim_calls_of(w->sim, SIM_WRITE);
	sim_fail_kind(w->sim, SIM_WRITE, 0, EIO, false);
	w->m.jump = true;
	if (setjmp(w->m.on_fatal) == 0)
		for (int i = 0; i < 100; i++)
			model_turn(&w->m, 1000000);
	assert_non_null(w->m.fatal_what);
	assert_int_equal(w->m.fatal_errno, EIO);
	assert_int_equal(sim_calls_of(w->sim, SIM_WRITE), writes + 1);
}

static void test_a_full_disk_leaves_room_for_settling_and_comes_back(void **state)
{
	struct world *w = *state;
	uint64_t put = 0;

	sim_disk_limit(w->sim, 0, 8 * w->m.config.segment_bytes);
	open_log(w);
	assert_int_equal(log_room(w->m.log), LOG_ROOM_OK);
	while (log_room(w->m.log) == LOG_ROOM_OK) {
		assert_true(put < 10000);
		put += model_put(&w->m, 1000);
		model_turn(&w->m, 20000000);
	}
	model_settle_down(&w->m);
	assert_true(put > 250);
	/* Everything can still be settled, one record at a time, and that gives the disk back. */
	uint64_t count = w->m.count;
	for (uint64_t i = 0; i < count;) {
		if (model_settle(&w->m, i))
			i++;
		model_turn(&w->m, 20000000);
	}
	for (int i = 0; i < 500 && log_room(w->m.log) != LOG_ROOM_OK; i++)
		model_turn(&w->m, 20000000);
	assert_int_equal(log_room(w->m.log), LOG_ROOM_OK);
	put_all(w, 10, 1000);
	check_items(w, count, count + 10);
	reopen(w);
	assert_int_equal(w->m.count, count + 10);
}

static void test_short_transfers_are_continued(void **state)
{
	struct world *w = *state;

	sim_short_io(w->sim, 500);
	open_log(w);
	put_all(w, 1500, 1000);
	check_items(w, 0, 1500);
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	reopen(w);
	assert_int_equal(w->m.count, 1500);
	check_items(w, 0, 1500);
}

static void test_an_idle_log_marks_its_last_batch_as_safe(void **state)
{
	struct world *w = *state;

	open_log(w);
	put_all(w, 1, 64);
	assert_true(w->m.log->unmarked);
	for (int i = 0; i < 10; i++)
		model_turn(&w->m, 50000000);
	assert_false(w->m.log->unmarked);
	uint64_t writes = sim_calls_of(w->sim, SIM_WRITE);
	for (int i = 0; i < 10; i++)
		model_turn(&w->m, 50000000);
	assert_int_equal(sim_calls_of(w->sim, SIM_WRITE), writes); /* once */
	put_all(w, 1, 64);
	reopen(w);
	assert_int_equal(w->m.count, 2);
}

static void test_apply_may_append_and_fetch(void **state);

static bool echo_done;
static struct world *echo_world;

static void echo_apply(void *ctx, const struct log_entry *entry, const struct log_record *record, bool live)
{
	model_apply(ctx, entry, record, live);
	if (live && record->kind == MODEL_PUT && !echo_done) {
		struct log_record same;
		echo_done = true;
		assert_int_equal(log_fetch(echo_world->m.log, record->addr, &same), ERR_OK);
		assert_ptr_equal(same.body.data, record->body.data);
		assert_true(model_settle(&echo_world->m, 0));
	}
}

static void test_apply_may_append_and_fetch(void **state)
{
	struct world *w = *state;

	echo_done = false;
	echo_world = w;
	w->m.config.apply = echo_apply;
	open_log(w);
	put_all(w, 3, 64);
	assert_true(echo_done);
	assert_true(w->m.items[0].settled);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_record_is_applied_only_after_its_write_has_come_back),
		TEST(test_records_of_one_turn_are_one_batch_and_one_write),
		TEST(test_the_next_batch_fills_while_one_is_in_flight),
		TEST(test_a_failed_write_stops_the_node_and_is_not_tried_again),
		TEST(test_a_rotation_on_an_empty_disk_never_says_that_it_is_full),
		TEST(test_a_record_above_the_batch_size_is_refused_and_one_of_that_size_fits),
		TEST(test_append_room_says_exactly_what_fits),
		TEST(test_entry_time_never_goes_back),
		TEST(test_items_survive_a_restart),
		TEST(test_every_start_takes_a_new_term),
		TEST(test_full_segments_are_sealed_and_a_restart_reads_their_indexes),
		TEST(test_a_checkpoint_on_demand_leaves_nothing_to_replay),
		TEST(test_settled_segments_are_deleted_and_a_living_one_pins_no_other),
		TEST(test_fetch_finds_pending_cached_and_cold_records),
		TEST(test_more_cold_fetches_than_reads_are_put_off_and_then_served),
		TEST(test_a_backlog_that_is_worked_off_is_read_ahead),
		TEST(test_what_could_not_be_read_ahead_is_read_when_it_is_asked_for),
		TEST(test_a_cold_record_bigger_than_a_chunk_is_read_whole),
		TEST(test_the_cache_keeps_to_its_size_and_gives_back_its_memory),
		TEST(test_the_next_segment_is_zeroed_ahead),
		TEST(test_large_batches_get_no_zeros_until_they_are_small_again),
		TEST(test_what_is_left_of_a_segment_is_zeroed_when_it_takes_writes_after_a_start),
		TEST(test_a_batch_waits_for_the_zeros_where_it_goes_and_for_no_others),
		TEST(test_a_large_batch_that_waits_for_zeros_is_written_before_the_next_of_them),
		TEST(test_a_segment_is_sealed_after_the_zeros_on_their_way_to_it),
		TEST(test_items_go_on_into_the_next_segment_while_zeros_are_on_their_way_to_the_one_before),
		TEST(test_a_full_disk_leaves_room_for_settling_and_comes_back),
		TEST(test_short_transfers_are_continued),
		TEST(test_an_idle_log_marks_its_last_batch_as_safe),
		TEST(test_apply_may_append_and_fetch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
