/* tests/unit/test_fsck.c: log_check_dir says what log_open would do, and changes nothing; log_walk_dir shows every record. */
#include "log_world.h"

#include "../../storage/record.h"
#include "../../storage/segment.h"

static int set_up(void **state)
{
	return world_set_up(state, 31);
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

static void on_line(void *ctx, const char *text)
{
	struct world *w = ctx;
	size_t len = strlen(w->lines);

	(void)snprintf(w->lines + len, sizeof w->lines - len, "%s\n", text);
}

static enum err check(struct world *w, struct log_check *out)
{
	w->lines[0] = 0;
	enum err e = log_check_dir(w->m.config.io, out, on_line, w);
	w->m.config.io->v->free(w->m.config.io);
	w->m.config.io = sim_restart(w->sim, 0);
	return e;
}

static void fill(struct world *w)
{
	assert_int_equal(model_open(&w->m), ERR_OK);
	put_all(w, 1500, 1000);
	log_checkpoint_now(w->m.log);
	model_settle_down(&w->m);
	put_all(w, 1, 100);
	put_all(w, 1, 100);
}

static void test_a_clean_store_has_no_findings(void **state)
{
	struct world *w = *state;
	struct log_check out;

	fill(w);
	stop(w);
	assert_int_equal(check(w, &out), ERR_OK);
	assert_int_equal(out.records, 1503); /* and the record of the members */
	assert_true(out.segments >= 6);
	assert_int_equal(out.damaged_batches + out.torn_bytes + out.missing_files, 0);
	assert_false(out.would_lose_confirmed);
	assert_string_equal(w->lines, "");
}

static void test_an_empty_directory_and_a_used_one_are_told_apart(void **state)
{
	struct world *w = *state;
	struct log_check out;

	assert_int_equal(check(w, &out), ERR_NOT_FOUND);
	assert_int_equal(model_open(&w->m), ERR_OK);
	assert_int_equal(log_check_dir(w->m.config.io, &out, on_line, w), ERR_LOCKED);
}

static void test_a_torn_end_is_no_loss(void **state)
{
	struct world *w = *state;
	struct log_check out;

	fill(w);
	for (int i = 0; i < 40; i++)
		assert_true(model_put(&w->m, 1000));
	log_flush(w->m.log, io_wall_ms(w->m.config.io));
	sim_crash(w->sim, 0, SIM_CRASH_EVEN);
	sim_bury(w->sim, 0);
	stop(w);
	assert_int_equal(check(w, &out), ERR_OK);
	assert_false(out.would_lose_confirmed);
	assert_int_equal(model_open(&w->m), ERR_OK);
	assert_int_equal(w->m.count, 1502);
}

static void test_damage_is_found_where_open_would_refuse_and_where_it_would_not_look(void **state)
{
	struct world *w = *state;
	struct log_check out;

	fill(w);
	uint64_t sealed = w->m.items[700].addr, recent = w->m.items[1500].addr;
	stop(w);
	/* In a sealed segment, which a start does not read. */
	char name[SEGMENT_NAME_MAX];
	segment_name(name, log_addr_segment(sealed), "log");
	assert_int_equal(sim_flip(w->sim, 0, name, log_addr_offset(sealed) + 50, 8), 0);
	assert_int_equal(check(w, &out), ERR_DAMAGED);
	assert_true(out.would_lose_confirmed);
	assert_int_equal(out.damaged_batches, 1);
	assert_non_null(strstr(w->lines, "damaged at offset"));
	assert_int_equal(sim_flip(w->sim, 0, name, log_addr_offset(sealed) + 50, 8), 0);
	/* Behind the checkpoint. */
	segment_name(name, log_addr_segment(recent), "log");
	assert_int_equal(sim_flip(w->sim, 0, name, log_addr_offset(recent) + 50, 8), 0);
	assert_int_equal(check(w, &out), ERR_DAMAGED);
	assert_int_equal(out.damaged_batches, 1);
	assert_int_equal(sim_flip(w->sim, 0, name, log_addr_offset(recent) + 50, 8), 0);
	assert_int_equal(check(w, &out), ERR_OK);
}

static void test_missing_files_are_counted_and_named(void **state)
{
	static const char *const names[] = {
		"identity", "vote", "seg-00000002.log",
	};
	struct world *w = *state;
	struct log_check out;

	fill(w);
	stop(w);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct buf saved = { NULL, 0, 0 };
		assert_int_equal(sim_peek(w->sim, 0, names[i], &saved), 0);
		assert_int_equal(w->m.config.io->v->unlink(w->m.config.io, names[i]), 0);
		assert_int_equal(check(w, &out), ERR_DAMAGED);
		assert_int_equal(out.missing_files, 1);
		assert_true(out.would_lose_confirmed);
		assert_non_null(strstr(w->lines, names[i]));
		sim_plant(w->sim, 0, names[i], buf_span(&saved));
		buf_free(&saved);
	}
	assert_int_equal(check(w, &out), ERR_OK);
}

static void test_a_lost_index_is_no_loss_while_its_segment_is_whole(void **state)
{
	static const char name[] = "seg-00000002.idx";
	struct world *w = *state;
	struct log_check out;

	fill(w);
	stop(w);
	assert_int_equal(sim_flip(w->sim, 0, name, 30, 4), 0);
	assert_int_equal(check(w, &out), ERR_OK);
	assert_int_equal(out.missing_files, 0);
	assert_non_null(strstr(w->lines, "makes it anew"));
	assert_int_equal(w->m.config.io->v->unlink(w->m.config.io, name), 0);
	assert_int_equal(check(w, &out), ERR_OK);
	assert_int_equal(out.missing_files, 1);
	assert_false(out.would_lose_confirmed);
	assert_non_null(strstr(w->lines, name));
	assert_int_equal(sim_flip(w->sim, 0, "seg-00000002.log", 9000, 4), 0);
	assert_int_equal(check(w, &out), ERR_DAMAGED);
	assert_true(out.would_lose_confirmed);
}

static void test_checking_changes_nothing(void **state)
{
	struct world *w = *state;
	struct log_check out;

	fill(w);
	for (int i = 0; i < 40; i++)
		assert_true(model_put(&w->m, 1000));
	log_flush(w->m.log, io_wall_ms(w->m.config.io));
	sim_crash(w->sim, 0, SIM_CRASH_EVEN);
	sim_bury(w->sim, 0);
	stop(w);
	(void)check(w, &out);
	uint64_t writes = sim_calls_of(w->sim, SIM_WRITE), removed = sim_calls_of(w->sim, SIM_UNLINK);
	uint64_t renamed = sim_calls_of(w->sim, SIM_RENAME), cut = sim_calls_of(w->sim, SIM_TRUNCATE);
	uint64_t grown = sim_calls_of(w->sim, SIM_ALLOCATE);
	(void)check(w, &out);
	assert_int_equal(sim_calls_of(w->sim, SIM_WRITE), writes);
	assert_int_equal(sim_calls_of(w->sim, SIM_UNLINK), removed);
	assert_int_equal(sim_calls_of(w->sim, SIM_RENAME), renamed);
	assert_int_equal(sim_calls_of(w->sim, SIM_TRUNCATE), cut);
	assert_int_equal(sim_calls_of(w->sim, SIM_ALLOCATE), grown);
}

static void on_record(void *ctx, const struct log_entry *entry, const struct log_record *record)
{
	struct world *w = ctx;
	uint64_t number;

	assert_true(entry->index > 0);
	assert_int_equal(record->kind, MODEL_PUT);
	memcpy(&number, record->body.data, sizeof number);
	assert_int_equal(number, w->walked);
	w->walked++;
}

static void test_a_walk_shows_every_record_in_order(void **state)
{
	struct world *w = *state;

	fill(w);
	stop(w);
	assert_int_equal(log_walk_dir(w->m.config.io, on_record, w), ERR_OK);
	assert_int_equal(w->walked, 1502);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_clean_store_has_no_findings),
		TEST(test_an_empty_directory_and_a_used_one_are_told_apart),
		TEST(test_a_torn_end_is_no_loss),
		TEST(test_damage_is_found_where_open_would_refuse_and_where_it_would_not_look),
		TEST(test_missing_files_are_counted_and_named),
		TEST(test_a_lost_index_is_no_loss_while_its_segment_is_whole),
		TEST(test_checking_changes_nothing),
		TEST(test_a_walk_shows_every_record_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
