/* tests/unit/test_blob_files.c: the suite of every backend (blob_suite.h) over files on the real ring. What files do when things go wrong
 * is in test_blob_local.c. Exit 77 (skipped) where io_uring is not available. */
#include "blob_suite.h"

#include <ftw.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state)
{
	char text[256] = "";
	struct blob_world *world = calloc(1, sizeof *world);
	struct io_uring_config io = { .dir = dir, .conns_max = 2, .recv_buffers = 16, .recv_buffer_bytes = 1024 };
	assert_non_null(world);
	(void)snprintf(dir, sizeof dir, "/tmp/hillock-blobs-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(io_uring_open(&io, &world->io, text), 0);
	if (blob_local_open(world->io, &world->b, text) != 0)
		fail_msg("%s", text);
	world->part = 512 << 10;
	world->number = 7ull << 32;
	*state = world;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct blob_world *world = *state;
	if (world->b)
		world->b->v->free(world->b);
	world->io->v->free(world->io);
	free(world);
	return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	if (!blob_suite_has_ring())
		return 77;
	const struct CMUnitTest tests[] = { BLOB_SUITE(setup, teardown) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
