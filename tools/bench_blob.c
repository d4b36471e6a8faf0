/* tools/bench_blob.c: `hillock bench blob`: how fast contents go up and come down, each way alone or both at once.
 *
 * Every content is new: made while it is read, so that no disk of ours is in the way, and hashed like any other. Downloads are compared
 * with their digest by the library and dropped. Two threads with a client each, so that neither way waits for the other's hashing. */
#include "commands.h"

#include <pthread.h>
#include <unistd.h>

#include "progress.h"

enum { BLOBS_MAX = 100000 };

static const struct option options[] = {
	{ "size", OPTION_SIZE, 0, "BYTES", "64M", 1, 0, "of each blob" },
	{ "count", OPTION_COUNT, 'n', "N", "4", 1, BLOBS_MAX, "blobs each way" },
	{ "up", OPTION_FLAG, 0, NULL, NULL, 0, 0, "uploads alone" },
	{ "down", OPTION_FLAG, 0, NULL, NULL, 0, 0, "downloads alone" },
	{ 0 },
};

/* One way: the blobs of `count`, with their names. */
struct way {
	struct cli *cli;
	uint64_t size, seed, bytes;
	uint32_t count;
	struct hlk_blob *blobs;
	double seconds;
	int code;
	char text[512];
};
struct made { uint64_t size, seed; };

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15u;
	return x ^ (x >> 29);
}

/* The same bytes at the same offset, whenever asked. */
static int64_t make(void *ctx, uint64_t offset, void *out, size_t room)
{
	const struct made *m = ctx;
	uint64_t end = MIN_OF(m->size, offset + room);
	uint8_t *to = out;
	for (uint64_t at = offset; at < end;) {
		uint64_t word = mix(m->seed + at / 8);
		size_t skip = (size_t)(at % 8), size = (size_t)MIN_OF((uint64_t)(8 - skip), end - at);
		memcpy(to, (const uint8_t *)&word + skip, size);
		to += size;
		at += size;
	}
	return (int64_t)(end - MIN_OF(end, offset));
}

static int connect_one(struct way *w, struct hlk **c)
{
	struct hlk_error error = { 0 };
	int code = hlk_open(&w->cli->connect, c, &error);
	if (code == HLK_OK)
		code = hlk_ready_wait(*c, w->cli->timeout_ms);
	return code;
}

static int drop(struct hlk *c, uint64_t offset, const void *data, size_t size, void *ctx)
{
	struct way *w = ctx;
	(void)c;
	(void)offset;
	(void)data;
	w->bytes += size;
	return HLK_OK;
}

static void *run(struct way *w, bool up)
{
	struct hlk *c = NULL;
	w->code = connect_one(w, &c);
	uint64_t begun = clock_ns();
	w->bytes = 0;
	for (uint32_t i = 0; i < w->count && w->code == HLK_OK; i++) {
		struct made made = { w->size, w->seed + ((uint64_t)i << 40) };
		const struct hlk_blob_source source = { .read = make, .read_ctx = &made };
		const struct hlk_blob_sink sink = { .write = drop, .write_ctx = w };
		w->code = up ? hlk_blob_put_wait(c, &source, HLK_FOREVER, &w->blobs[i], NULL)
			     : hlk_blob_get_wait(c, w->blobs[i].digest, &sink, HLK_FOREVER, NULL);
		w->bytes += up ? w->size : 0;
	}
	w->seconds = (double)(clock_ns() - begun) / 1e9;
	if (w->code != HLK_OK && c)
		(void)snprintf(w->text, sizeof w->text, "%s", hlk_last_error(c)->text);
	if (c)
		hlk_close(c, 1000);
	return NULL;
}

static void *run_up(void *way) { return run(way, true); }
static void *run_down(void *way) { return run(way, false); }

static void rate(json_t *object, const char *key, const struct way *w)
{
	if (w)
		cli_set(object, key, json_real(w->seconds > 0 ? (double)w->bytes / 1e6 / w->seconds : 0));
}

static void report(struct cli *cli, const struct way *up, const struct way *down, double seconds)
{
	static const struct column fields[] = {
		{ "blobs", "blobs each way", COLUMN_NUMBER }, { "size", "bytes of each", COLUMN_NUMBER },
		{ "seconds", "seconds", COLUMN_DECIMAL },      { "up_mb_per_s", "up MB/s", COLUMN_DECIMAL },
		{ "down_mb_per_s", "down MB/s", COLUMN_DECIMAL }, { "mb_per_s", "together MB/s", COLUMN_DECIMAL },
	};
	const struct way *any = up ? up : down;
	json_t *object = json_object();
	cli_set(object, "blobs", json_integer(any->count));
	cli_set(object, "size", cli_integer(any->size));
	cli_set(object, "seconds", json_real(seconds));
	rate(object, "up_mb_per_s", up);
	rate(object, "down_mb_per_s", down);
	cli_set(object, "mb_per_s", json_real(((double)(up ? up->bytes : 0) + (double)(down ? down->bytes : 0)) / 1e6 / seconds));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
}

static int way_failed(const struct way *w, const char *what)
{
	if (w->code == HLK_OK)
		return CLI_OK;
	cli_say("%s: %s (%s)", what, w->text, hlk_error_name(w->code));
	return cli_exit_of(w->code);
}

static void forget(struct cli *cli, const struct way *w)
{
	for (uint32_t i = 0; i < w->count; i++)
		if (w->blobs[i].size > 0)
			(void)hlk_blob_remove(cli->client, w->blobs[i].digest);
}

static int both(struct cli *cli, struct way *up, struct way *down)
{
	pthread_t threads[2];
	bool began[2] = { false, false };
	uint64_t begun = clock_ns();
	if (up)
		began[0] = pthread_create(&threads[0], NULL, run_up, up) == 0;
	if (down)
		began[1] = pthread_create(&threads[1], NULL, run_down, down) == 0;
	for (int i = 0; i < 2; i++)
		if (began[i])
			(void)pthread_join(threads[i], NULL);
	double seconds = (double)(clock_ns() - begun) / 1e9;
	int code = up ? way_failed(up, "uploads") : CLI_OK;
	if (code == CLI_OK && down)
		code = way_failed(down, "downloads");
	if (code == CLI_OK)
		report(cli, up, down, seconds);
	return code;
}

static int bench_blob(struct cli *cli)
{
	const struct args *args = &cli->args;
	bool up = args_number(args, "up"), down = args_number(args, "down");
	struct way ways[2];
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	for (uint64_t i = 0; i < 2; i++) {
		ways[i] = (struct way){ .cli = cli, .size = args_number(args, "size"), .count = (uint32_t)args_number(args, "count"),
					.seed = mix(clock_ns() + i) };
		ways[i].blobs = calloc(ways[i].count, sizeof *ways[i].blobs);
		ENSURE(ways[i].blobs != NULL);
	}
	bool alone_up = up && !down, alone_down = down && !up;
	if (!alone_up) { /* what is to come down goes up before the clock runs */
		(void)run_up(&ways[1]);
		code = way_failed(&ways[1], "uploads");
	}
	if (code == CLI_OK)
		code = both(cli, alone_down ? NULL : &ways[0], alone_up ? NULL : &ways[1]);
	for (int i = 0; i < 2; i++) {
		forget(cli, &ways[i]);
		free(ways[i].blobs);
	}
	return code;
}

const struct command bench_blob_command = {
	"bench", "blob", "", 0, 0, "uploads and downloads blobs, by default both at once",
	"Contents are new each time and are removed afterwards. Rates are those of contents, without frames; hashing is in them.",
	"hillock bench blob --size 1G --count 4\tboth ways at once\n"
	"hillock bench blob --up --size 256k --count 1000\tsmall ones", options, bench_blob,
};
