/* storage/blob_local_list.c: what is stored, in pieces: one directory, or LIST_STEP files of it, in a turn. The contract stands in blob.h.
 *
 * A sweep asks: it has to see each file that was there when it began and is not removed meanwhile. Others it may see or not. */
#include "blob_local_impl.h"

#include <errno.h>

enum { LIST_STEP = 64 };

struct lister {
	struct item i;
	void (*each)(void *ctx, const struct blob_key *key, uint64_t size);
	void *ctx;
	bool present[LOCAL_DIRS];
	bool up;                  /* it is blobs/up that is being looked at */
	unsigned at;              /* the next directory */
	size_t seen;              /* of the names of the current one */
};

static void collect_name(void *ctx, const char *name)
{
	struct lister *s = ctx;
	buf_append(&s->i.names, name, strlen(name) + 1);
}

static void collect_dir(void *ctx, const char *name)
{
	struct lister *s = ctx;
	uint64_t dir;
	if (strlen(name) == 2 && local_hex(name, 2, &dir))
		s->present[dir] = true;
}

static void list_step(struct act *a, int64_t res);

static void list_over(struct lister *s, int64_t res)
{
	if (res < 0)
		local_item_failed(&s->i, res, true);
	else
		local_item_over(&s->i, ERR_OK);
}

/* The next directory that is there, or the end. */
static void list_directory(struct lister *s)
{
	struct io *io = s->i.l->b.io;
	s->i.names.len = s->seen = 0;
	s->up = false;
	while (s->at < LOCAL_DIRS && !s->present[s->at])
		s->at++;
	if (s->at == LOCAL_DIRS) {
		list_over(s, 0);
		return;
	}
	(void)snprintf(s->i.name, sizeof s->i.name, "blobs/%02x", s->at++);
	int err = io->v->list(io, s->i.name, collect_name, s);
	if (err)
		list_over(s, err);
	else
		local_act_name(&s->i, IO_NOP, NULL, list_step);
}

static void list_step(struct act *a, int64_t res)
{
	struct lister *s = (struct lister *)(void *)item_of(a);
	struct io *io = s->i.l->b.io;
	if (res < 0 || s->i.err) {
		list_over(s, res < 0 ? res : s->i.err);
		return;
	}
	for (unsigned n = 0; n < LIST_STEP && s->seen < s->i.names.len; n++) {
		const char *name = (const char *)s->i.names.data + s->seen;
		char path[sizeof s->i.name + LOCAL_NAME_LEN];
		struct blob_key key;
		s->seen += strlen(name) + 1;
		if (!blob_local_parse(name, s->up, s->at - 1, &key))
			continue; /* nothing of ours */
		(void)snprintf(path, sizeof path, "%s/%s", s->up ? "blobs/up" : s->i.name, name);
		int64_t size = io->v->size_of(io, path);
		if (size < 0 && size != -ENOENT) { /* removed since: not there */
			list_over(s, size);
			return;
		}
		if (size >= 0)
			s->each(s->ctx, &key, (uint64_t)size);
	}
	if (s->seen < s->i.names.len)
		local_act_name(&s->i, IO_NOP, NULL, list_step);
	else
		list_directory(s);
}

void local_list(struct blob_backend *b, struct blob_job *job, void (*each)(void *ctx, const struct blob_key *key, uint64_t size),
		void *ctx)
{
	struct lister *s = local_item_new(local_of(b), sizeof *s);
	local_job_begin(&s->i, job, "cannot list");
	s->each = each;
	s->ctx = ctx;
	s->up = true;
	(void)snprintf(s->i.name, sizeof s->i.name, "blobs");
	s->i.err = b->io->v->list(b->io, "blobs", collect_dir, s);
	if (s->i.err == 0)
		s->i.err = b->io->v->list(b->io, "blobs/up", collect_name, s);
	local_act_name(&s->i, IO_NOP, NULL, list_step);
}
