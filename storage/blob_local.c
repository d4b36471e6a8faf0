/* storage/blob_local.c: blobs as files below the data directory. The contract stands in blob.h.
 *
 *   broker/blob_* -> BLOB BACKEND -> io: written to blobs/up/NUMBER, synced, renamed to blobs/XX/DIGEST-NUMBER
 *
 * Invariants:
 *  1. A blob is done when its bytes, then its name, and before that the directory of its name are durable.
 *  2. A sync or writeback that failed is the end of its blob (blob_local_write.c).
 *  3. At most SLOW_AT_ONCE operations that may sit on a thread of the kernel are under way, so that the log finds one free.
 *  4. What is not on the disk yet of one blob stays under 40 MiB: its final sync is short, and other syncs do not wait behind it.
 *  5. Everything that is allocated hangs in the list of items until it is over. */
#include "blob_local_impl.h"

#include <errno.h>

enum { SLOW_AT_ONCE = 4, WINDOW = 8 << 20 };

struct blob_reader {
	struct item i;
	uint64_t size, offset;
	uint8_t *to;
	size_t left;
	struct blob_reader **out;
};

/* ---- operations ---- */

static void act_done(struct io_op *op, int64_t res);

static void act_submit(struct act *a)
{
	a->l->slow += a->slow;
	io_submit(a->l->b.io, &a->op);
}

void local_act(struct act *a, struct io_op op, void (*then)(struct act *a, int64_t res))
{
	struct local *l = a->l;
	ENSURE(!a->busy);
	a->op = op;
	a->op.done = act_done;
	a->op.ctx = a;
	a->then = then;
	a->busy = true;
	if (l->closing)
		return; /* a callback that ran while free() waited: nothing is done any more */
	a->slow = op.kind != IO_READ && op.kind != IO_NOP;
	a->next = NULL;
	l->acts++;
	if (!a->slow || l->slow < SLOW_AT_ONCE) {
		act_submit(a);
		return;
	}
	if (l->line_first)
		l->line_last->next = a;
	else
		l->line_first = a;
	l->line_last = a;
}

static void act_done(struct io_op *op, int64_t res)
{
	struct act *a = op->ctx;
	struct local *l = a->l;
	ENSURE(a->busy && l->acts > 0);
	a->busy = false;
	l->acts--;
	l->slow -= a->slow;
	struct act *next = l->line_first;
	if (next && l->slow < SLOW_AT_ONCE && !l->closing) {
		l->line_first = next->next;
		act_submit(next);
	}
	if (!l->closing)
		a->then(a, res);
}

void local_act_file(struct item *i, enum io_op_kind kind, const void *data, size_t len, uint64_t offset,
			void (*then)(struct act *a, int64_t res))
{
	local_act(&i->act, (struct io_op){ .kind = kind, .file = i->file, .data = (void *)(uintptr_t)data, .len = len, .offset = offset },
	       then);
}

void local_act_name(struct item *i, enum io_op_kind kind, const char *name, void (*then)(struct act *a, int64_t res))
{
	local_act(&i->act, (struct io_op){ .kind = kind, .file = -1, .data = (void *)(uintptr_t)name }, then);
}

/* ---- items ---- */

void *local_item_new(struct local *l, size_t bytes)
{
	struct item *i = calloc(1, bytes);
	ENSURE(i != NULL);
	i->l = i->act.l = l;
	i->file = -1;
	i->next = l->items;
	if (l->items)
		l->items->prev = i;
	l->items = i;
	return i;
}

void local_item_close(struct item *i)
{
	if (i->file >= 0)
		i->l->b.io->v->close(i->l->b.io, i->file);
	i->file = -1;
}

void local_item_free(struct item *i)
{
	local_item_close(i);
	if (i->prev)
		i->prev->next = i->next;
	else
		i->l->items = i->next;
	if (i->next)
		i->next->prev = i->prev;
	buf_free(&i->names);
	free(i);
}

static enum err code_of(int64_t res, bool reading)
{
	switch (res) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return ERR_RESOURCE_EXHAUSTED;
	case -EIO:
		return reading ? ERR_DAMAGED : ERR_UNAVAILABLE;
	case -ENOENT:
		return reading ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
	default:
		return ERR_UNAVAILABLE;
	}
}

void local_job_done(struct item *i, enum err code)
{
	struct blob_job *job = i->job;
	i->job = NULL;
	job->done(job, code);
}

void local_job_fail(struct item *i, int64_t res, bool reading)
{
	(void)snprintf(i->job->text, sizeof i->job->text, "%s %s: %s", i->doing, i->name, strerror((int)-res));
	local_job_done(i, code_of(res, reading));
}

void local_job_begin(struct item *i, struct blob_job *job, const char *doing)
{
	ENSURE(i->job == NULL);
	i->job = job;
	i->doing = doing;
	job->got = 0;
	job->text[0] = '\0';
}

void local_item_over(struct item *i, enum err code)
{
	struct blob_job *job = i->job;
	local_item_free(i);
	job->done(job, code);
}

void local_item_failed(struct item *i, int64_t res, bool reading)
{
	(void)snprintf(i->job->text, sizeof i->job->text, "%s %s: %s", i->doing, i->name, strerror((int)-res));
	local_item_over(i, code_of(res, reading));
}

/* ---- names ---- */

void local_name_up(struct item *i, uint64_t number)
{
	(void)snprintf(i->dir, sizeof i->dir, "blobs/up");
	(void)snprintf(i->name, sizeof i->name, "blobs/up/%016llx", (unsigned long long)number);
}

void blob_local_name(const struct blob_key *key, char out[BLOB_LOCAL_NAME])
{
	char hex[2 * BLOB_DIGEST + 1];
	hex_print(key->digest, BLOB_DIGEST, hex);
	(void)snprintf(out, BLOB_LOCAL_NAME, "blobs/%02x/%s-%016llx", key->digest[0], hex, (unsigned long long)key->number);
}

void local_name_of(struct item *i, const struct blob_key *key)
{
	static const uint8_t none[BLOB_DIGEST];
	if (memcmp(key->digest, none, BLOB_DIGEST) == 0) {
		local_name_up(i, key->number);
		return;
	}
	(void)snprintf(i->dir, sizeof i->dir, "blobs/%02x", key->digest[0]);
	blob_local_name(key, i->name);
}

bool local_hex(const char *text, size_t digits, uint64_t *out)
{
	*out = 0;
	for (size_t n = 0; n < digits; n++) {
		char c = text[n];
		bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
		if (!digit && !letter)
			return false;
		*out = *out << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
	}
	return true;
}

bool blob_local_parse(const char *name, bool up, unsigned dir, struct blob_key *out)
{
	uint64_t byte;
	*out = (struct blob_key){ .number = 0 };
	if (up)
		return strlen(name) == LOCAL_NUMBER_HEX && local_hex(name, LOCAL_NUMBER_HEX, &out->number);
	if (strlen(name) != LOCAL_NAME_LEN || name[2 * BLOB_DIGEST] != '-' ||
	    !local_hex(name + 2 * BLOB_DIGEST + 1, LOCAL_NUMBER_HEX, &out->number))
		return false;
	for (size_t n = 0; n < BLOB_DIGEST; n++) {
		if (!local_hex(name + 2 * n, 2, &byte))
			return false;
		out->digest[n] = (uint8_t)byte;
	}
	return out->digest[0] == dir;
}

/* ---- reading ---- */

static void opened(struct act *a, int64_t res)
{
	struct blob_reader *r = (struct blob_reader *)(void *)item_of(a);
	if (res < 0 || r->i.err) {
		local_item_failed(&r->i, res < 0 ? res : r->i.err, true);
		return;
	}
	*r->out = r;
	local_job_done(&r->i, ERR_OK);
}

static void wrong_size(struct act *a, int64_t res)
{
	struct item *i = item_of(a);
	(void)res;
	(void)snprintf(i->job->text, sizeof i->job->text, "%s %s: it is not as long as it should be", i->doing, i->name);
	local_item_over(i, ERR_DAMAGED);
}

static void open_blob(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size, struct blob_reader **out)
{
	struct blob_reader *r = local_item_new(local_of(b), sizeof *r);
	local_job_begin(&r->i, job, "cannot read");
	r->size = size;
	r->out = out;
	local_name_of(&r->i, key);
	int64_t res = b->io->v->open(b->io, r->i.name, IO_READONLY);
	if (res >= 0) {
		r->i.file = (int)res;
		res = b->io->v->size(b->io, r->i.file);
	}
	r->i.err = res < 0 ? (int)res : 0;
	local_act_name(&r->i, IO_NOP, NULL, res >= 0 && (uint64_t)res != size ? wrong_size : opened);
}

static void read_part(struct blob_reader *r);

static void read_done(struct act *a, int64_t res)
{
	struct blob_reader *r = (struct blob_reader *)(void *)item_of(a);
	if (res == 0 && r->left > 0)
		res = -EIO; /* it was longer when it was opened */
	if (res < 0) {
		local_job_fail(&r->i, res, true);
		return;
	}
	ENSURE((uint64_t)res <= r->left);
	r->to += res;
	r->offset += (uint64_t)res;
	r->left -= (size_t)res;
	r->i.job->got += (uint64_t)res;
	if (r->left > 0)
		read_part(r);
	else
		local_job_done(&r->i, ERR_OK);
}

static void read_part(struct blob_reader *r)
{
	local_act_file(&r->i, IO_READ, r->to, r->left, r->offset, read_done);
}

static void read_blob(struct blob_reader *r, struct blob_job *job, uint64_t offset, void *to, size_t len)
{
	local_job_begin(&r->i, job, "cannot read");
	r->offset = offset;
	r->to = to;
	r->left = offset < r->size ? (size_t)MIN_OF((uint64_t)len, r->size - offset) : 0;
	if (r->left > 0)
		read_part(r);
	else
		local_act_name(&r->i, IO_NOP, NULL, read_done);
}

static int reader_file(struct blob_reader *r) { return r->i.file; }

static void close_reader(struct blob_reader *r)
{
	ENSURE(r->i.job == NULL);
	local_item_free(&r->i);
}

/* ---- removing and checking ---- */

static void removal_durable(struct act *a, int64_t res)
{
	if (res < 0 && res != -ENOENT) /* without a directory there is no name in it */
		local_item_failed(item_of(a), res, false);
	else
		local_item_over(item_of(a), ERR_OK);
}

static void removed(struct act *a, int64_t res)
{
	struct item *i = item_of(a);
	if (res < 0 && res != -ENOENT)
		local_item_failed(i, res, false);
	else /* also where it was not there: perhaps since a moment ago only */
		local_act_name(i, IO_SYNC_DIR, i->dir, removal_durable);
}

static void remove_blob(struct blob_backend *b, struct blob_job *job, const struct blob_key *key)
{
	struct item *i = local_item_new(local_of(b), sizeof *i);
	local_job_begin(i, job, "cannot remove");
	local_name_of(i, key);
	local_act_name(i, IO_UNLINK, i->name, removed);
}

static void checked(struct act *a, int64_t res)
{
	struct item *i = item_of(a);
	if (res < 0 || i->err)
		local_item_failed(i, res < 0 ? res : i->err, true);
	else
		local_item_over(i, ERR_OK);
}

static void check(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size)
{
	struct item *i = local_item_new(local_of(b), sizeof *i);
	local_job_begin(i, job, "cannot find");
	local_name_of(i, key);
	int64_t res = b->io->v->size_of(b->io, i->name);
	i->err = res < 0 ? (int)res : 0;
	local_act_name(i, IO_NOP, NULL, res >= 0 && (uint64_t)res != size ? wrong_size : checked);
}

/* ---- the rest ---- */

static enum err presign(struct blob_backend *b, const struct blob_key *key, bool put, uint32_t seconds, char *out, size_t room)
{
	(void)b, (void)key, (void)put, (void)seconds, (void)out, (void)room;
	return ERR_UNSUPPORTED;
}

static uint64_t room(struct blob_backend *b)
{
	int64_t bytes = b->io->v->free_bytes(b->io);
	return bytes < 0 ? UINT64_MAX : (uint64_t)bytes;
}

static void free_backend(struct blob_backend *b)
{
	struct local *l = local_of(b);
	l->closing = true;
	for (struct act *a = l->line_first; a; a = a->next)
		l->acts--; /* they never begin */
	while (l->acts > 0)
		(void)io_reap(b->io, io_now_ns(b->io) + 1000000000ull);
	while (l->items)
		local_item_free(l->items);
	free(l);
}

static const struct blob_backend_v local_v = {
	.name = "local", .create = local_create, .write = local_write, .finish = local_finish, .abandon = local_abandon, .open = open_blob,
	.read = read_blob, .file = reader_file, .close = close_reader, .remove = remove_blob, .list = local_list, .presign = presign,
	.check = check, .room = room, .free = free_backend,
};

int blob_local_open(struct io *io, struct blob_backend **out, char text[256])
{
	int64_t err = io->v->mkdir(io, "blobs");
	if (err == 0)
		err = io->v->mkdir(io, "blobs/up");
	if (err == 0)
		err = io->v->sync_dir(io);
	if (err == 0)
		err = io_do(io, IO_SYNC_DIR, -1, (void *)(uintptr_t)"blobs", 0, 0);
	if (err) {
		(void)snprintf(text, 256, "cannot make the directories of blobs: %s", strerror((int)-err));
		return (int)err;
	}
	struct local *l = calloc(1, sizeof *l);
	ENSURE(l != NULL);
	l->b.v = &local_v;
	l->b.io = io;
	l->window = WINDOW;
	*out = &l->b;
	return 0;
}
