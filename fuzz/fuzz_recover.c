/* fuzz/fuzz_recover.c: a whole data directory, damaged as the input says. log_open answers with an error or with a prefix of what
 * was stored, never with anything else; fsck does not crash and finds damage where open refuses. Input: a flag byte, then
 * steps of 8 bytes: what, which file, u16 block, u16 at, value, value. */
#include <errno.h>

#include "../storage/log.h"
#include "../wire/limits.h"
#include "../tests/sim/io_sim.h"
#include "../tests/unit/log_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILES_MAX = 24, ITEMS = 400 };

static struct {
	char names[FILES_MAX][32];
	struct buf bytes[FILES_MAX];
	uint32_t count;
	uint64_t items;
} base;

static void each_name(void *ctx, const char *name)
{
	(void)ctx;
	if (strcmp(name, "lock") == 0 || base.count >= FILES_MAX)
		return;
	(void)snprintf(base.names[base.count++], sizeof base.names[0], "%s", name);
}

static void make_base(void)
{
	struct sim *w = sim_new(1);
	struct model m;

	model_init(&m, sim_node_io(w, 0));
	ENSURE(model_open(&m) == ERR_OK);
	for (uint64_t i = 0; i < ITEMS; i++) {
		while (!model_put(&m, (uint32_t)(200 + i % 5 * 700)))
			model_turn(&m, 1000000);
		if (i % 9 == 0)
			model_settle_down(&m);
		if (i == ITEMS / 2)
			log_checkpoint_now(m.log);
	}
	model_settle_down(&m);
	base.items = m.count;
	model_close(&m);
	ENSURE(m.config.io->v->list(m.config.io, "", each_name, NULL) == 0);
	for (uint32_t i = 0; i < base.count; i++)
		ENSURE(sim_peek(w, 0, base.names[i], &base.bytes[i]) == 0);
	m.config.io->v->free(m.config.io);
	model_free(&m);
	sim_free(w);
}

/* One step of damage to the image. */
static void damage(struct buf *files, const uint8_t *s)
{
	struct buf *file = &files[s[1] % base.count];
	uint64_t at = ((uint64_t)(s[2] | s[3] << 8) * DISK_BLOCK + (uint64_t)((s[4] | s[5] << 8) % DISK_BLOCK));
	struct buf *other = &files[s[6] % base.count];

	if (file->len == 0)
		return;
	at %= file->len;
	size_t block = (size_t)at / DISK_BLOCK * DISK_BLOCK, left = MIN_OF(file->len - block, (size_t)DISK_BLOCK);
	switch (s[0] % 7) {
	case 0: file->data[at] ^= s[6] ? s[6] : 1; break;
	case 1: memset(file->data + block, s[6], left); break;
	case 2: file->len = (size_t)at; break;
	case 3: file->len = 0; break;
	case 4: /* a misdirected or stale block */
		if (other->len >= block + left)
			memcpy(file->data + block, other->data + block, left);
		break;
	case 5: memset(file->data + block, 0, MIN_OF((size_t)s[6] * DISK_BLOCK, file->len - block)); break;
	default: memset(file->data + (at / 512 * 512), s[7], MIN_OF((size_t)512, file->len - at / 512 * 512)); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf files[FILES_MAX] = { { NULL, 0, 0 } };
	struct log_check check;
	struct model m;

	if (base.count == 0)
		make_base();
	if (size < 1)
		return 0;
	struct sim *w = sim_new(2);
	struct io *io = sim_node_io(w, 0);
	for (uint32_t i = 0; i < base.count; i++)
		buf_append(&files[i], base.bytes[i].data, base.bytes[i].len);
	for (size_t at = 1; at + 8 <= size && at < 200; at += 8)
		damage(files, data + at);
	for (uint32_t i = 0; i < base.count; i++) {
		if (files[i].len > 0)
			sim_plant(w, 0, base.names[i], buf_span(&files[i]));
		buf_free(&files[i]);
	}
	enum err found = log_check_dir(io, &check, NULL, NULL);
	io->v->free(io);

	model_init(&m, sim_restart(w, 0));
	m.config.create = false;
	m.config.accept_loss = data[0] & 1;
	enum err e = model_open(&m);
	if (e == ERR_OK && !m.config.accept_loss) {
		ENSURE(!m.failed && m.count <= base.items);
		for (uint64_t i = 0; i < m.count; i++)
			if (m.items[i].known) {
				struct log_record record;
				enum err fetched = model_fetch(&m, i, &record);
				ENSURE(fetched == ERR_DAMAGED || model_item_right(&m, i));
			}
	}
	if (e == ERR_DAMAGED)
		ENSURE(found != ERR_OK);
	model_close(&m);
	m.config.io->v->free(m.config.io);
	model_free(&m);
	sim_free(w);
	return 0;
}
