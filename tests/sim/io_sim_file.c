/* tests/sim/io_sim_file.c: the simulated disk's cold calls (names, sizes, locks) and the knobs tests turn. */
#include "io_sim_disk.h"

static struct sim_disk *disk_of(struct sim_proc *p) { return p->w->nodes[p->node].disk; }

static struct sim_disk *disk_get(struct sim *w, int node)
{
	ENSURE(node >= 0 && node < SIM_NODES_MAX);
	if (!w->nodes[node].disk)
		w->nodes[node].disk = sim_disk_new();
	return w->nodes[node].disk;
}

static struct sim_inode *create(struct sim_disk *d, const char *name)
{
	struct sim_inode *n = sim_inode_new(d);
	sim_name_set(&d->now, name, n);
	sim_dir_op(d, NULL, NULL, name, n);
	return n;
}

static int file_open(struct io *io, const char *name, unsigned flags)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(name));
	int err = sim_call_begin(p, SIM_OPEN);
	if (err)
		return err;
	struct sim_disk *d = disk_of(p);
	struct name *found = sim_name_find(&d->now, name);
	if (found && flags & IO_CREATE)
		return -EEXIST;
	if ((!found && !(flags & IO_CREATE)) || !sim_has_directory(&d->now, name, sim_parent_len(name)))
		return -ENOENT;
	if (found && found->inode->directory)
		return -EISDIR;
	struct sim_inode *n = found ? found->inode : create(d, name);
	int id = 0;
	while (id < p->file_count && p->files[id].inode)
		id++;
	if (id == p->file_count) {
		p->files = realloc(p->files, size_mul((size_t)id + 1, sizeof *p->files));
		ENSURE(p->files != NULL);
		p->file_count++;
	}
	p->files[id] = (struct sim_file){ .inode = n, .flags = flags };
	n->opens++;
	return id;
}

static struct sim_file *file_get(struct sim_proc *p, int file)
{
	ENSURE(file >= 0 && file < p->file_count && p->files[file].inode);
	return &p->files[file];
}

static void file_close(struct io *io, int file)
{
	struct sim_proc *p = sim_proc_of(io);
	if (p->dead)
		return;
	struct sim_file *f = file_get(p, file);
	ENSURE(f->in_flight == 0);
	f->inode->opens--;
	f->inode = NULL;
	sim_inodes_sweep(disk_of(p));
}

static int64_t file_size(struct io *io, int file)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_SIZE);
	return err ? err : (int64_t)file_get(p, file)->inode->size;
}

static int file_allocate(struct io *io, int file, uint64_t bytes)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_ALLOCATE);
	if (err)
		return err;
	struct sim_inode *n = file_get(p, file)->inode;
	if (!sim_fits(disk_of(p), n, bytes))
		return -ENOSPC;
	n->reserved = MAX_OF(n->reserved, bytes);
	if (bytes > n->size) {
		n->size = bytes;
		n->size_lost = false;
	}
	return 0;
}

static int file_truncate(struct io *io, int file, uint64_t bytes)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_TRUNCATE);
	if (err)
		return err;
	struct sim_inode *n = file_get(p, file)->inode;
	for (uint64_t i = bytes / DISK_BLOCK; i < n->page_count; i++) {
		uint64_t from = MAX_OF(i * DISK_BLOCK, bytes);
		if (n->pages[i])
			sim_store(disk_of(p), n, from, NULL, (size_t)((i + 1) * DISK_BLOCK - from), HOW_CACHED);
	}
	n->size = n->reserved = bytes;
	n->size_lost = false;
	return 0;
}

static int file_rename(struct io *io, const char *from, const char *to)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(from) && io_name_ok(to));
	int err = sim_call_begin(p, SIM_RENAME);
	if (err)
		return err;
	struct sim_disk *d = disk_of(p);
	struct name *found = sim_name_find(&d->now, from);
	if (!found || !sim_has_directory(&d->now, to, sim_parent_len(to)))
		return -ENOENT;
	struct sim_inode *n = found->inode;
	ENSURE(!n->directory);
	sim_name_remove(&d->now, from);
	sim_name_set(&d->now, to, n);
	sim_dir_op(d, from, n, to, n);
	sim_inodes_sweep(d);
	return 0;
}

static int file_unlink(struct io *io, const char *name)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(name));
	int err = sim_call_begin(p, SIM_UNLINK);
	if (err)
		return err;
	return sim_unlink(disk_of(p), name);
}

static int dir_sync(struct io *io)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_SYNC_DIR);
	if (!err)
		sim_dir_durable(disk_of(p), "", UINT64_MAX);
	return err;
}

static int dir_make(struct io *io, const char *name)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(name));
	int err = sim_call_begin(p, SIM_MKDIR);
	if (err)
		return err;
	struct sim_disk *d = disk_of(p);
	if (!sim_has_directory(&d->now, name, sim_parent_len(name)))
		return -ENOENT;
	if (!sim_name_find(&d->now, name))
		create(d, name)->directory = true;
	return 0;
}

static int64_t file_size_of(struct io *io, const char *name)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(name));
	int err = sim_call_begin(p, SIM_SIZE_OF);
	if (err)
		return err;
	struct name *found = sim_name_find(&disk_of(p)->now, name);
	return !found ? -ENOENT : found->inode->directory ? -EISDIR : (int64_t)found->inode->size;
}

static int dir_list(struct io *io, const char *dir, void (*each)(void *ctx, const char *name), void *ctx)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_LIST);
	if (err)
		return err;
	struct names *now = &disk_of(p)->now;
	size_t len = strlen(dir), count = 0, skip = len > 0 ? len + 1 : 0;
	if (!sim_has_directory(now, dir, len))
		return -ENOENT;
	/* In no order that anybody could get used to. A copy: `each` may change the directory. */
	struct name *copy = calloc(MAX_OF(now->count, (size_t)1), sizeof *copy);
	ENSURE(copy != NULL);
	for (size_t i = 0; i < now->count; i++) {
		if (sim_parent_len(now->at[i].text) == len && strncmp(now->at[i].text, dir, len) == 0)
			copy[count++] = now->at[i];
	}
	size_t first = (size_t)sim_world_below(p->w, count);
	for (size_t i = 0; i < count; i++)
		each(ctx, copy[(first + i) % count].text + skip);
	free(copy);
	return 0;
}

static int64_t disk_free_bytes(struct io *io)
{
	struct sim_proc *p = sim_proc_of(io);
	int err = sim_call_begin(p, SIM_FREE_BYTES);
	struct sim_disk *d = disk_of(p);
	uint64_t limit = MIN_OF(d->limit, (uint64_t)1 << 40), used = sim_space_used(d);
	return err ? err : used < limit ? (int64_t)(limit - used) : 0;
}

static int file_lock(struct io *io, const char *name)
{
	struct sim_proc *p = sim_proc_of(io);
	ENSURE(io_name_ok(name));
	int err = sim_call_begin(p, SIM_LOCK);
	if (err)
		return err;
	struct sim_disk *d = disk_of(p);
	struct name *found = sim_name_find(&d->now, name);
	struct sim_inode *n = found ? found->inode : create(d, name);
	if (n->locked_by)
		return -EWOULDBLOCK;
	n->locked_by = p;
	return 0;
}

int sim_file_take(struct sim_proc *p, int file, uint64_t offset, uint64_t len, uint8_t **out)
{
	struct sim_file *f = file_get(p, file);
	if (offset + len > f->inode->size)
		return -EIO;
	uint8_t *bytes = malloc((size_t)len);
	ENSURE(bytes != NULL);
	int err = sim_load(f->inode, offset, bytes, (size_t)len);
	if (err) {
		free(bytes);
		return err;
	}
	f->in_flight++;
	*out = bytes;
	return 0;
}

void sim_file_sent(struct sim_proc *p, int file)
{
	if (p->dead) /* its files are closed already */
		return;
	struct sim_file *f = file_get(p, file);
	ENSURE(f->in_flight > 0);
	f->in_flight--;
}

void sim_disk_vtable(struct io_vtable *v)
{
	v->submit = sim_disk_submit;
	v->open = file_open;
	v->close = file_close;
	v->size = file_size;
	v->allocate = file_allocate;
	v->truncate = file_truncate;
	v->rename = file_rename;
	v->unlink = file_unlink;
	v->sync_dir = dir_sync;
	v->mkdir = dir_make;
	v->size_of = file_size_of;
	v->list = dir_list;
	v->free_bytes = disk_free_bytes;
	v->lock = file_lock;
}

/* ---- the disk itself ---- */

struct sim_disk *sim_disk_new(void)
{
	struct sim_disk *d = calloc(1, sizeof *d);
	ENSURE(d != NULL);
	d->inodes_end = &d->inodes;
	d->limit = UINT64_MAX;
	struct sim_latency l = { 20 * SIM_US, 60 * SIM_US };
	d->speed = (struct sim_disk_speed){ l, l, l };
	return d;
}

void sim_disk_free(struct sim_disk *d)
{
	if (!d)
		return;
	while (d->inodes) {
		struct sim_inode *n = d->inodes;
		d->inodes = n->next;
		sim_inode_free(n);
	}
	free(d->now.at);
	free(d->durable.at);
	free(d->ops);
	free(d);
}

/* ---- knobs ---- */

void sim_disk_speed(struct sim *w, int node, struct sim_disk_speed speed) { disk_get(w, node)->speed = speed; }
void sim_disk_limit(struct sim *w, int node, uint64_t bytes) { disk_get(w, node)->limit = bytes; }

uint64_t sim_disk_used(const struct sim *w, int node)
{
	return w->nodes[node].disk ? sim_space_used(w->nodes[node].disk) : 0;
}

/* Planted files bring their directories with them. */
static void plant_directories(struct sim_disk *d, const char *name)
{
	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		char dir[SIM_NAME_MAX];
		(void)snprintf(dir, sizeof dir, "%.*s", (int)(slash - name), name);
		struct name *found = sim_name_find(&d->now, dir);
		struct sim_inode *n = found ? found->inode : create(d, dir);
		n->directory = true;
		sim_name_set(&d->durable, dir, n);
	}
}

static struct sim_inode *find(struct sim *w, int node, const char *name)
{
	struct name *found = sim_name_find(&disk_get(w, node)->now, name);
	return found ? found->inode : NULL;
}

int sim_flip(struct sim *w, int node, const char *name, uint64_t offset, uint8_t xor_mask)
{
	struct sim_inode *n = find(w, node, name);
	if (!n)
		return -ENOENT;
	if (offset >= n->size)
		return -ERANGE;
	struct page *p = sim_page_of(n, offset / DISK_BLOCK, true);
	p->cache[offset % DISK_BLOCK] ^= xor_mask;
	p->platter[offset % DISK_BLOCK] ^= xor_mask;
	return 0;
}

int sim_spoil(struct sim *w, int node, const char *name, uint64_t offset, uint64_t len)
{
	struct sim_inode *n = find(w, node, name);
	if (!n)
		return -ENOENT;
	if (len == 0 || offset + len > n->size)
		return -ERANGE;
	for (uint64_t s = offset / SIM_SECTOR; s <= (offset + len - 1) / SIM_SECTOR; s++) {
		struct page *p = sim_page_of(n, s / SIM_PAGE_SECTORS, true);
		p->spoiled |= (uint8_t)(1u << s % SIM_PAGE_SECTORS);
	}
	return 0;
}

void sim_plant(struct sim *w, int node, const char *name, struct span bytes)
{
	struct sim_disk *d = disk_get(w, node);
	struct sim_inode *n = find(w, node, name);
	plant_directories(d, name);
	if (!n)
		n = create(d, name);
	for (size_t i = 0; i < n->page_count; i++) {
		free(n->pages[i]);
		n->pages[i] = NULL;
	}
	if (bytes.len > 0)
		sim_store(d, n, 0, bytes.data, bytes.len, HOW_DURABLE);
	n->size = n->platter_size = n->reserved = bytes.len;
	sim_name_set(&d->durable, name, n);
}

int sim_peek(struct sim *w, int node, const char *name, struct buf *out)
{
	struct sim_inode *n = find(w, node, name);
	if (!n)
		return -ENOENT;
	if (n->size > 0)
		(void)sim_load(n, 0, buf_extend(out, (size_t)n->size), (size_t)n->size);
	return 0;
}

int sim_peek_platter(struct sim *w, int node, const char *name, struct buf *out)
{
	struct name *found = sim_name_find(&disk_get(w, node)->durable, name);
	if (!found)
		return -ENOENT;
	struct sim_inode *n = found->inode;
	for (uint64_t at = 0; at < n->platter_size; at += DISK_BLOCK) {
		size_t part = (size_t)MIN_OF(n->platter_size - at, (uint64_t)DISK_BLOCK);
		struct page *p = sim_page_of(n, at / DISK_BLOCK, false);
		uint8_t *to = buf_extend(out, part);
		if (p)
			memcpy(to, p->platter, part);
		else
			memset(to, 0, part);
	}
	return 0;
}

uint64_t sim_unsynced(const struct sim *w, int node)
{
	uint64_t count = 0;
	struct sim_inode *n = w->nodes[node].disk ? w->nodes[node].disk->inodes : NULL;
	for (; n; n = n->next) {
		for (size_t i = 0; i < n->page_count; i++)
			count += n->pages[i] ? (uint64_t)__builtin_popcount(n->pages[i]->dirty) : 0;
	}
	return count;
}

void sim_drop_caches(struct sim *w, int node)
{
	for (struct sim_inode *n = disk_get(w, node)->inodes; n; n = n->next) {
		for (size_t i = 0; i < n->page_count; i++) {
			struct page *p = n->pages[i];
			for (unsigned s = 0; p && s < SIM_PAGE_SECTORS; s++) {
				if (p->lost >> s & 1)
					memcpy(p->cache + s * SIM_SECTOR, p->platter + s * SIM_SECTOR, SIM_SECTOR);
			}
			if (p)
				p->lost = 0;
		}
	}
}
