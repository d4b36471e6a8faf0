/* tests/unit/test_io_uring_file.c: the files of the real door to the world, on disk and on tmpfs.
 * Exit 77 (skipped) where io_uring is not available. */
#include "io_uring_world.h"

/* ---- files ---- */

static void test_a_written_block_reads_back(void **state)
{
	struct server *s = *state;
	struct io *io = s->io;
	int file = io->v->open(io, "segment", IO_CREATE | IO_DIRECT | IO_DSYNC);
	assert_true(file >= 0);
	assert_int_equal(io->v->allocate(io, file, 16 * DISK_BLOCK), 0);
	assert_int_equal(io->v->size(io, file), 16 * DISK_BLOCK);
	uint8_t *block = aligned_alloc(DISK_BLOCK, DISK_BLOCK);
	assert_non_null(block);
	memset(block, 'x', DISK_BLOCK);
	assert_int_equal(io_do(io, IO_READ, file, block, DISK_BLOCK, 0), DISK_BLOCK);
	assert_int_equal(block[0] | block[DISK_BLOCK - 1], 0); /* allocated bytes read as zeros */
	memset(block, 'y', DISK_BLOCK);
	assert_int_equal(io_do(io, IO_WRITE, file, block, DISK_BLOCK, 3 * DISK_BLOCK), DISK_BLOCK);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0);
	memset(block, 0, DISK_BLOCK);
	assert_int_equal(io_do(io, IO_READ, file, block, DISK_BLOCK, 3 * DISK_BLOCK), DISK_BLOCK);
	assert_int_equal(block[DISK_BLOCK - 1], 'y');
	assert_int_equal(io->v->truncate(io, file, 4 * DISK_BLOCK), 0);
	assert_int_equal(io_do(io, IO_READ, file, block, DISK_BLOCK, 4 * DISK_BLOCK), 0);
	io->v->close(io, file);
	assert_int_equal(io->v->open(io, "segment", IO_CREATE), -EEXIST);
	assert_int_equal(io->v->open(io, "none", 0), -ENOENT);
	free(block);
}

static void test_a_read_over_the_end_is_short(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	assert_int_equal(io_replace_file(io, "small", span_str("twelve bytes")), 0);
	int file = io->v->open(io, "small", IO_READONLY);
	assert_true(file >= 0);
	char out[64];
	assert_int_equal(io_do(io, IO_READ, file, out, sizeof out, 7), 5);
	assert_memory_equal(out, "bytes", 5);
	assert_int_equal(io_do(io, IO_WRITE, file, out, 5, 0), -EBADF);
	io->v->close(io, file);
}

static void test_replace_is_read_back_and_leaves_no_temporary(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	struct buf got = { 0 };
	assert_int_equal(io_read_file(io, "identity", 100, &got), -ENOENT);
	assert_int_equal(io_replace_file(io, "identity", span_str("first")), 0);
	assert_int_equal(io_replace_file(io, "identity", span_str("second, longer")), 0);
	assert_int_equal(io_read_file(io, "identity", 100, &got), 0);
	assert_true(span_eq(buf_span(&got), span_str("second, longer")));
	assert_int_equal(io_read_file(io, "identity", 5, &got), -EFBIG);
	assert_int_equal(io->v->unlink(io, "identity.tmp"), -ENOENT);
	assert_int_equal(io_replace_file(io, "empty", span_of(NULL, 0)), 0);
	got.len = 0;
	assert_int_equal(io_read_file(io, "empty", 5, &got), 0);
	assert_int_equal(got.len, 0);
	buf_free(&got);
}

static void collect(void *ctx, const char *name)
{
	struct buf *names = ctx;
	buf_append(names, name, strlen(name));
	buf_append(names, ";", 1);
}

static void test_names_can_be_listed_renamed_and_removed(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	assert_int_equal(io_replace_file(io, "a", span_str("1")), 0);
	assert_int_equal(io->v->rename(io, "a", "b"), 0);
	assert_int_equal(io->v->rename(io, "a", "b"), -ENOENT);
	assert_int_equal(io->v->sync_dir(io), 0);
	struct buf names = { 0 };
	assert_int_equal(io->v->list(io, "", collect, &names), 0);
	assert_true(span_eq(buf_span(&names), span_str("b;")));
	assert_int_equal(io->v->unlink(io, "b"), 0);
	names.len = 0;
	assert_int_equal(io->v->list(io, "", collect, &names), 0);
	assert_int_equal(names.len, 0);
	assert_true(io->v->free_bytes(io) > 0);
	buf_free(&names);
}

static void test_a_locked_directory_is_locked_for_the_second(void **state)
{
	struct server *s = *state;
	assert_int_equal(s->io->v->lock(s->io, "lock"), 0);
	struct io *other = NULL;
	char text[256];
	struct io_uring_config config = { .dir = s->dir, .conns_max = 1, .recv_buffers = 2,
					  .recv_buffer_bytes = 512 };
	assert_int_equal(io_uring_open(&config, &other, text), 0);
	assert_int_equal(other->v->lock(other, "lock"), -EWOULDBLOCK);
	s->io->v->free(s->io);
	assert_int_equal(other->v->lock(other, "lock"), 0);
	s->io = other; /* the teardown frees it */
}

static void test_a_missing_directory_is_named(void **state)
{
	(void)state;
	struct io *io = NULL;
	char text[256];
	struct io_uring_config config = { .dir = "/nowhere/at/all", .conns_max = 1, .recv_buffers = 2,
					  .recv_buffer_bytes = 512 };
	assert_int_equal(io_uring_open(&config, &io, text), -ENOENT);
	assert_non_null(strstr(text, "/nowhere/at/all"));
	config.dir = "/tmp";
	config.recv_buffers = 3; /* not a power of two */
	assert_int_equal(io_uring_open(&config, &io, text), -EINVAL);
	assert_non_null(strstr(text, "receive buffers"));
}

struct many {
	struct io_op op;
	unsigned *left;
	char data[100];
};

static void many_done(struct io_op *op, int64_t res)
{
	struct many *m = op->ctx;
	assert_int_equal(res, sizeof m->data);
	(*m->left)--;
}

static void test_more_operations_than_the_ring_holds_all_complete_once(void **state)
{
	struct server *s = *state;
	struct io *io = s->io;
	enum { COUNT = 5000 };
	struct many *all = calloc(COUNT, sizeof *all);
	assert_non_null(all);
	int file = io->v->open(io, "many", IO_CREATE);
	unsigned left = COUNT;
	for (unsigned i = 0; i < COUNT; i++) {
		memset(all[i].data, (int)i, sizeof all[i].data);
		all[i].left = &left;
		all[i].op = (struct io_op){ .kind = IO_WRITE, .file = file, .data = all[i].data, .len = 100,
					    .offset = i * 100ull, .done = many_done, .ctx = &all[i] };
		io_submit(io, &all[i].op);
		assert_int_equal(left, COUNT); /* never from inside submit */
	}
	UNTIL(s, left == 0);
	assert_int_equal(io->v->size(io, file), COUNT * 100);
	io->v->close(io, file);
	free(all);
}

static int64_t on_name(struct io *io, enum io_op_kind kind, const char *name)
{
	return io_do(io, kind, -1, (void *)(uintptr_t)name, 0, 0);
}

static void test_files_in_directories_are_made_synced_listed_and_removed(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	struct buf names = { 0 };
	assert_int_equal(io->v->open(io, "d/ab/f", IO_CREATE), -ENOENT);
	assert_int_equal(io->v->mkdir(io, "d/ab"), -ENOENT);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(io->v->mkdir(io, "d"), 0);
		assert_int_equal(io->v->mkdir(io, "d/ab"), 0);
	}
	int file = io->v->open(io, "d/ab/f", IO_CREATE);
	assert_true(file >= 0);
	char text[] = "bytes";
	assert_int_equal(io_do(io, IO_WRITE, file, text, 5, 0), 5);
	assert_int_equal(io_do(io, IO_WRITEBACK, file, NULL, 5, 0), 0);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0);
	io->v->close(io, file);
	assert_int_equal(io->v->rename(io, "d/ab/f", "d/g"), 0);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "d/ab"), 0);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "d"), 0);
	assert_int_equal(on_name(io, IO_SYNC_DIR, ""), 0);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "none"), -ENOENT);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "d/g"), -ENOTDIR);
	assert_int_equal(io->v->size_of(io, "d/g"), 5);
	assert_int_equal(io->v->size_of(io, "d/ab"), -EISDIR);
	assert_int_equal(io->v->size_of(io, "d/none"), -ENOENT);
	assert_int_equal(io->v->list(io, "none", collect, &names), -ENOENT);
	assert_int_equal(io->v->list(io, "d/ab", collect, &names), 0);
	assert_int_equal(names.len, 0);
	assert_int_equal(io->v->list(io, "", collect, &names), 0);
	assert_true(span_eq(buf_span(&names), span_str("d;")));
	assert_int_equal(on_name(io, IO_UNLINK, "d/g"), 0);
	assert_int_equal(on_name(io, IO_UNLINK, "d/g"), -ENOENT);
	assert_int_equal(on_name(io, IO_UNLINK, "d/ab"), -EISDIR);
	assert_int_equal(on_name(io, IO_NOP, NULL), 0);
	buf_free(&names);
}

static void test_a_name_stays_in_the_data_directory(void **state)
{
	(void)state;
	static const char *const good[] = { "a", "..a", "a..", "...", ".a", "a/b", "a/b/c", "blobs/ab/x-1", "a/.b", "a/..b" };
	static const char *const bad[] = { "", ".", "..", "/", "/a", "a/", "a//b", "./a", "../a", "a/..", "a/./b", "a/../b", "a/b/..",
					   "a/b/c/d" };
	char longest[IO_NAME_MAX + 2];
	memset(longest, 'x', sizeof longest);
	longest[IO_NAME_MAX] = '\0';
	assert_true(io_name_ok(longest));
	longest[IO_NAME_MAX] = 'x';
	longest[IO_NAME_MAX + 1] = '\0';
	assert_false(io_name_ok(longest));
	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(io_name_ok(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(io_name_ok(bad[i]));
}

/* Every text of up to seven of the characters that matter, against a slow and obvious rule. */
static void test_each_short_text_is_a_name_or_not_as_the_rule_says(void **state)
{
	(void)state;
	static const char set[] = "/.a";
	for (unsigned n = 0; n < 2187; n++) {
		char text[8], part[8], *at = text;
		for (unsigned left = n; left > 0 || at == text; left /= 3)
			*at++ = set[left % 3];
		*at = '\0';
		unsigned parts = 1, len = 0;
		bool ok = true;
		for (const char *c = text;; c++) {
			if (*c && *c != '/') {
				part[len++] = *c;
				continue;
			}
			part[len] = '\0';
			ok = ok && len > 0 && strcmp(part, ".") != 0 && strcmp(part, "..") != 0;
			len = 0;
			if (!*c)
				break;
			parts++;
		}
		assert_int_equal(io_name_ok(text), ok && parts <= IO_NAME_PARTS);
	}
}

int main(void)
{
	if (!available())
		return 77;
	const struct CMUnitTest tests[] = {
		DISK(test_a_written_block_reads_back),
		MEMORY(test_a_written_block_reads_back),
		DISK(test_a_read_over_the_end_is_short),
		DISK(test_replace_is_read_back_and_leaves_no_temporary),
		MEMORY(test_replace_is_read_back_and_leaves_no_temporary),
		DISK(test_names_can_be_listed_renamed_and_removed),
		DISK(test_files_in_directories_are_made_synced_listed_and_removed),
		MEMORY(test_files_in_directories_are_made_synced_listed_and_removed),
		cmocka_unit_test(test_a_name_stays_in_the_data_directory),
		cmocka_unit_test(test_each_short_text_is_a_name_or_not_as_the_rule_says),
		DISK(test_a_locked_directory_is_locked_for_the_second),
		cmocka_unit_test(test_a_missing_directory_is_named),
		DISK(test_more_operations_than_the_ring_holds_all_complete_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
