/* tests/sim/io_sim_disk.c: the simulated disk of a node: files as pages with what the page cache holds and what the
 * platter holds, names with what is durable, and what a crash makes of the difference.
 *
 * Invariants:
 *  1. A sector is durable once a sync that was submitted after its write completed with 0, or its IO_DSYNC write did.
 *  2. A name is durable once a sync of its directory returned 0, and there after a crash only where its directory is. Syncing a
 *     file does not make its name durable. A file renamed to another directory may be in both after a sync of that one alone.
 *  3. After a failed sync what was dirty stays readable until a crash or sim_drop_caches, and no later sync saves it.
 *  4. After a crash cache and platter are the same. */
#include "io_sim_disk.h"

/* ---- names ---- */

struct name *sim_name_find(struct names *n, const char *text)
{
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(n->at[i].text, text) == 0)
			return &n->at[i];
	}
	return NULL;
}

void sim_name_set(struct names *n, const char *text, struct sim_inode *inode)
{
	struct name *at = sim_name_find(n, text);
	if (!at) {
		if (n->count == n->cap) {
			n->cap = n->cap ? n->cap * 2 : 8;
			n->at = realloc(n->at, size_mul(n->cap, sizeof *n->at));
			ENSURE(n->at != NULL);
		}
		at = &n->at[n->count++];
		(void)snprintf(at->text, sizeof at->text, "%s", text);
	}
	at->inode = inode;
}

void sim_name_remove(struct names *n, const char *text)
{
	struct name *at = sim_name_find(n, text);
	if (!at)
		return;
	n->count--;
	memmove(at, at + 1, (size_t)(n->at + n->count - at) * sizeof *at);
}

static void names_copy(struct names *to, const struct names *from)
{
	to->count = 0;
	for (size_t i = 0; i < from->count; i++)
		sim_name_set(to, from->at[i].text, from->at[i].inode);
}

void sim_dir_op(struct sim_disk *d, const char *remove, struct sim_inode *removed, const char *add,
		   struct sim_inode *inode)
{
	if (d->op_count == d->op_cap) {
		d->op_cap = d->op_cap ? d->op_cap * 2 : 8;
		d->ops = realloc(d->ops, size_mul(d->op_cap, sizeof *d->ops));
		ENSURE(d->ops != NULL);
	}
	struct dir_op *op = &d->ops[d->op_count++];
	*op = (struct dir_op){ .removed = removed, .add = { .inode = inode }, .stamp = ++d->op_stamp };
	(void)snprintf(op->remove, sizeof op->remove, "%s", remove ? remove : "");
	(void)snprintf(op->add.text, sizeof op->add.text, "%s", add ? add : "");
}

size_t sim_parent_len(const char *text)
{
	const char *slash = strrchr(text, '/');
	return slash ? (size_t)(slash - text) : 0;
}

bool sim_has_directory(struct names *n, const char *text, size_t len)
{
	char dir[SIM_NAME_MAX];
	(void)snprintf(dir, sizeof dir, "%.*s", (int)len, text);
	struct name *found = len > 0 ? sim_name_find(n, dir) : NULL;
	return len == 0 || (found && found->inode->directory);
}

int sim_unlink(struct sim_disk *d, const char *text)
{
	struct name *found = sim_name_find(&d->now, text);
	if (!found)
		return -ENOENT;
	if (found->inode->directory)
		return -EISDIR;
	sim_dir_op(d, text, found->inode, NULL, NULL);
	sim_name_remove(&d->now, text);
	sim_inodes_sweep(d);
	return 0;
}

static bool is_in(const char *text, const char *dir)
{
	size_t len = strlen(dir);
	return text[0] && sim_parent_len(text) == len && strncmp(text, dir, len) == 0;
}

static void apply_removal(struct sim_disk *d, const struct dir_op *op)
{
	struct name *old = sim_name_find(&d->durable, op->remove);
	if (old && old->inode == op->removed)
		sim_name_remove(&d->durable, op->remove);
}

void sim_dir_durable(struct sim_disk *d, const char *dir, uint64_t stamp)
{
	size_t left = 0;
	for (size_t i = 0; i < d->op_count; i++) {
		struct dir_op *op = &d->ops[i];
		if (op->stamp <= stamp && is_in(op->remove, dir)) {
			apply_removal(d, op);
			op->remove[0] = '\0';
			op->removed = NULL;
		}
		if (op->stamp <= stamp && op->add.inode && is_in(op->add.text, dir)) {
			sim_name_set(&d->durable, op->add.text, op->add.inode);
			op->add.inode = NULL;
		}
		if (op->removed || op->add.inode)
			d->ops[left++] = *op;
	}
	d->op_count = left;
	sim_inodes_sweep(d);
}

/* ---- inodes ---- */

void sim_inode_free(struct sim_inode *n)
{
	for (size_t i = 0; i < n->page_count; i++)
		free(n->pages[i]);
	free(n->pages);
	free(n);
}

/* Frees what neither a name, nor a pending operation, nor an open file refers to any more. */
void sim_inodes_sweep(struct sim_disk *d)
{
	for (struct sim_inode *n = d->inodes; n; n = n->next)
		n->named = n->opens > 0 || n->locked_by;
	for (size_t i = 0; i < d->now.count; i++)
		d->now.at[i].inode->named = true;
	for (size_t i = 0; i < d->durable.count; i++)
		d->durable.at[i].inode->named = true;
	for (size_t i = 0; i < d->op_count; i++) {
		if (d->ops[i].add.inode)
			d->ops[i].add.inode->named = true;
		if (d->ops[i].removed)
			d->ops[i].removed->named = true;
	}
	struct sim_inode **at = &d->inodes;
	while (*at) {
		struct sim_inode *n = *at;
		if (n->named) {
			at = &n->next;
			continue;
		}
		*at = n->next;
		sim_inode_free(n);
	}
	d->inodes_end = at;
}

struct sim_inode *sim_inode_new(struct sim_disk *d)
{
	struct sim_inode *n = calloc(1, sizeof *n);
	ENSURE(n != NULL);
	*d->inodes_end = n;
	d->inodes_end = &n->next;
	return n;
}

struct page *sim_page_of(struct sim_inode *n, uint64_t index, bool make)
{
	if (index >= n->page_count) {
		if (!make)
			return NULL;
		size_t count = MAX_OF(n->page_count * 2, (size_t)index + 1);
		n->pages = realloc(n->pages, size_mul(count, sizeof(struct page *)));
		ENSURE(n->pages != NULL);
		memset(n->pages + n->page_count, 0, (count - n->page_count) * sizeof(struct page *));
		n->page_count = count;
	}
	if (!n->pages[index] && make) {
		n->pages[index] = calloc(1, sizeof(struct page));
		ENSURE(n->pages[index] != NULL);
	}
	return n->pages[index];
}

static uint64_t inode_space(const struct sim_inode *n)
{
	return align_up((size_t)MAX_OF(n->size, n->reserved), DISK_BLOCK);
}

uint64_t sim_space_used(const struct sim_disk *d)
{
	uint64_t sum = 0;
	for (const struct sim_inode *n = d->inodes; n; n = n->next)
		sum += inode_space(n);
	return sum;
}

bool sim_fits(const struct sim_disk *d, const struct sim_inode *n, uint64_t size)
{
	if (d->limit == UINT64_MAX || size <= inode_space(n))
		return true;
	return sim_space_used(d) - inode_space(n) + align_up((size_t)size, DISK_BLOCK) <= d->limit;
}

static void sector_durable(struct page *p, unsigned sector, const uint8_t *bytes)
{
	memcpy(p->platter + sector * SIM_SECTOR, bytes, SIM_SECTOR);
}

void sim_store(struct sim_disk *d, struct sim_inode *n, uint64_t offset, const uint8_t *data, size_t len,
		  enum how how)
{
	d->stamp++;
	while (len > 0) {
		size_t at = offset % DISK_BLOCK, part = MIN_OF(len, DISK_BLOCK - at);
		struct page *p = sim_page_of(n, offset / DISK_BLOCK, true);
		if (data)
			memcpy(p->cache + at, data, part);
		else
			memset(p->cache + at, 0, part);
		p->stamp = d->stamp;
		for (size_t s = at / SIM_SECTOR; s <= (at + part - 1) / SIM_SECTOR; s++) {
			uint8_t bit = (uint8_t)(1u << s);
			p->spoiled &= (uint8_t)~bit;
			p->lost &= (uint8_t)~bit;
			p->dirty |= bit;
			if (how == HOW_DURABLE) {
				sector_durable(p, (unsigned)s, p->cache + s * SIM_SECTOR);
				p->dirty &= (uint8_t)~bit;
			}
		}
		offset += part;
		len -= part;
		data = data ? data + part : NULL;
	}
}

int sim_load(struct sim_inode *n, uint64_t offset, uint8_t *out, size_t len)
{
	for (size_t done = 0; done < len;) {
		uint64_t pos = offset + done;
		size_t at = pos % DISK_BLOCK, part = MIN_OF(len - done, DISK_BLOCK - at);
		struct page *p = sim_page_of(n, pos / DISK_BLOCK, false);
		for (size_t s = at / SIM_SECTOR; p && s <= (at + part - 1) / SIM_SECTOR; s++) {
			if (p->spoiled >> s & 1)
				return -EIO;
		}
		if (p)
			memcpy(out + done, p->cache + at, part);
		else
			memset(out + done, 0, part);
		done += part;
	}
	return 0;
}

/* ---- submitted operations ---- */

void sim_flight_unref(struct sim_flight *f)
{
	if (--f->refs == 0) {
		free(f->snapshots);
		free(f);
	}
}

struct sim_flight *sim_flight_new(struct sim_proc *p)
{
	struct sim_flight *f = calloc(1, sizeof *f);
	ENSURE(f != NULL);
	*f = (struct sim_flight){ .proc = p, .refs = 1, .next = p->flights, .crashed = p->dead };
	if (p->flights)
		p->flights->prev = f;
	p->flights = f;
	return f; /* of a dead process: the next reap of its io completes it */
}

void sim_flight_unlink(struct sim_flight *f)
{
	struct sim_proc *p = f->proc;
	ENSURE(p != NULL);
	if (f->prev)
		f->prev->next = f->next;
	else
		p->flights = f->next;
	if (f->next)
		f->next->prev = f->prev;
	f->proc = NULL;
	sim_flight_unref(f);
}

static void take_snapshot(struct sim_flight *f, struct sim_disk *d)
{
	struct sim_inode *n = f->inode;
	size_t cap = 0;
	f->stamp = d->stamp;
	f->new_size = n->size;
	for (size_t i = 0; i < n->page_count; i++) {
		struct page *p = n->pages[i];
		if (!p || !p->dirty)
			continue;
		if (f->snapshot_count == cap) {
			cap = cap ? cap * 2 : 4;
			f->snapshots = realloc(f->snapshots, size_mul(cap, sizeof *f->snapshots));
			ENSURE(f->snapshots != NULL);
		}
		struct sim_snapshot *s = &f->snapshots[f->snapshot_count++];
		s->page = p;
		s->dirty = p->dirty;
		memcpy(s->bytes, p->cache, DISK_BLOCK);
	}
}

static void sync_effect(struct sim_flight *f)
{
	for (size_t i = 0; i < f->snapshot_count; i++) {
		struct sim_snapshot *s = &f->snapshots[i];
		for (unsigned b = 0; b < SIM_PAGE_SECTORS; b++) {
			if (!(s->dirty >> b & 1))
				continue;
			uint8_t bit = (uint8_t)(1u << b);
			if (f->fault) { /* the kernel marks the pages clean all the same */
				s->page->lost |= (uint8_t)(s->page->dirty & bit);
				s->page->dirty &= (uint8_t)~bit;
				continue;
			}
			sector_durable(s->page, b, s->bytes + b * SIM_SECTOR);
			if (s->page->stamp <= f->stamp)
				s->page->dirty &= (uint8_t)~bit;
		}
	}
	if (f->fault)
		f->inode->size_lost = f->inode->size != f->inode->platter_size;
	else if (!f->inode->size_lost)
		f->inode->platter_size = MIN_OF(f->new_size, f->inode->size);
	f->res = f->fault;
}

/* A writeback promises nothing, so one that went well does nothing: a crash may keep dirty sectors anyway. */
static void writeback_effect(struct sim_flight *f)
{
	if (f->fault)
		sync_effect(f);
}

/* How many bytes of a transfer of `len` are moved: all, fewer by the short-transfer knob. */
static size_t shortened(struct sim *w, const struct sim_flight *f, size_t len)
{
	size_t unit = f->flags & IO_DIRECT ? DISK_BLOCK : 1;
	if (len <= unit || sim_world_below(w, 1000) >= w->short_per_mille)
		return len;
	size_t some = sim_world_below(w, len) / unit * unit; /* drawn once: MAX_OF would draw twice */
	return MAX_OF(some, unit);
}

static void write_effect(struct sim *w, struct sim_flight *f, struct sim_disk *d)
{
	struct sim_inode *n = f->inode;
	const uint8_t *data = f->op->data;
	size_t len = f->op->len;
	if (!f->fault && f->flags & IO_READONLY)
		f->fault = -EBADF;
	else if (!f->fault && !sim_fits(d, n, f->op->offset + len))
		f->fault = -ENOSPC;
	else if (f->fault) /* some of it may have got through */
		len = sim_world_below(w, len + 1);
	else
		len = shortened(w, f, len);
	if (f->fault == -EBADF || f->fault == -ENOSPC)
		len = 0;
	enum how how = f->flags & IO_DSYNC && !f->fault ? HOW_DURABLE : HOW_CACHED;
	uint64_t end = f->op->offset + len;
	if (len > 0) {
		sim_store(d, n, f->op->offset, data, len, how);
		if (end > n->size) {
			n->size = end;
			n->size_lost = false;
		}
		if (how == HOW_DURABLE && end > n->platter_size) /* of a longer size only so much is promised */
			n->platter_size = sim_world_below(w, 2) ? n->size : end;
	}
	f->res = f->fault ? f->fault : (int64_t)len;
}

static void read_effect(struct sim *w, struct sim_flight *f)
{
	struct sim_inode *n = f->inode;
	uint64_t offset = f->op->offset;
	size_t len = offset >= n->size ? 0 : (size_t)MIN_OF(n->size - offset, (uint64_t)f->op->len);
	len = f->fault ? sim_world_below(w, len + 1) : shortened(w, f, len);
	int err = sim_load(n, offset, f->op->data, len);
	f->res = f->fault ? f->fault : err ? err : (int64_t)len;
}

static void sync_dir_effect(struct sim_flight *f, struct sim_disk *d)
{
	const char *dir = f->op->data;
	f->res = f->fault;
	if (!f->fault && !sim_has_directory(&d->now, dir, strlen(dir)))
		f->res = -ENOENT;
	if (f->res == 0)
		sim_dir_durable(d, dir, f->dir_stamp);
}

static void flight_lands(struct sim *w, void *ctx)
{
	struct sim_flight *f = ctx;
	struct sim_proc *p = f->proc;
	if (p && !f->crashed && !w->freeing) {
		switch (f->op->kind) {
		case IO_READ:
			read_effect(w, f);
			break;
		case IO_WRITE:
			write_effect(w, f, w->nodes[p->node].disk);
			break;
		case IO_SYNC:
			sync_effect(f);
			break;
		case IO_WRITEBACK:
			writeback_effect(f);
			break;
		case IO_UNLINK:
			f->res = f->fault ? f->fault : sim_unlink(w->nodes[p->node].disk, f->op->data);
			break;
		case IO_SYNC_DIR:
			sync_dir_effect(f, w->nodes[p->node].disk);
			break;
		case IO_NOP:
			break;
		}
		sim_push(p, (struct sim_ready){ .kind = READY_OP, .flight = f });
	}
	sim_flight_unref(f);
}

static void take_file(struct sim_proc *p, struct sim_flight *f)
{
	const struct io_op *op = f->op;
	ENSURE(op->file >= 0 && op->file < p->file_count && p->files[op->file].inode);
	struct sim_file *file = &p->files[op->file];
	file->in_flight++;
	f->inode = file->inode;
	f->flags = file->flags;
	if (file->flags & IO_DIRECT && (op->kind == IO_READ || op->kind == IO_WRITE)) {
		ENSURE((uintptr_t)op->data % DISK_BLOCK == 0);
		ENSURE(op->len % DISK_BLOCK == 0);
		ENSURE(op->offset % DISK_BLOCK == 0);
	}
}

void sim_disk_submit(struct io *io, struct io_op *op)
{
	struct sim_proc *p = sim_proc_of(io);
	struct sim *w = p->w;
	static const enum sim_call calls[] = { [IO_READ] = SIM_READ, [IO_WRITE] = SIM_WRITE, [IO_SYNC] = SIM_SYNC,
					       [IO_WRITEBACK] = SIM_WRITEBACK, [IO_UNLINK] = SIM_UNLINK,
					       [IO_SYNC_DIR] = SIM_SYNC_DIR };
	ENSURE(op->done != NULL);
	struct sim_flight *f = sim_flight_new(p);
	f->op = op;
	if (f->crashed)
		return;
	if (io_op_has_file(op->kind))
		take_file(p, f);
	else
		ENSURE(op->kind == IO_NOP || io_name_ok(op->data) || (op->kind == IO_SYNC_DIR && !((const char *)op->data)[0]));
	sim_note(w, p->node, "submit", op->offset, op->len);
	f->fault = op->kind == IO_NOP ? 0 : sim_call_begin(p, calls[op->kind]);
	struct sim_disk *d = w->nodes[p->node].disk;
	struct sim_latency l = op->kind == IO_READ ? d->speed.read : op->kind == IO_WRITE ? d->speed.write : d->speed.sync;
	if (op->kind == IO_SYNC || op->kind == IO_WRITEBACK)
		take_snapshot(f, d);
	f->dir_stamp = d->op_stamp;
	f->refs++;
	uint64_t delay = op->kind == IO_NOP ? 0 : sim_world_between(w, l.min_ns, l.max_ns);
	sim_at(w, w->now + delay, flight_lands, f);
}

/* ---- crash ---- */

enum fate { KEEP, DROP, ZERO, STALE, GARBAGE };

static enum fate sector_fate(struct sim *w, enum sim_crash_pattern pattern, size_t index, size_t count)
{
	static const enum fate dice[] = { KEEP, KEEP, KEEP, DROP, DROP, DROP, ZERO, STALE, GARBAGE, KEEP };
	switch (pattern) {
	case SIM_CRASH_SEEDED:
		return dice[sim_world_below(w, COUNT_OF(dice))];
	case SIM_CRASH_DROP_ALL:
	case SIM_CRASH_NAMES_ONLY:
		return DROP;
	case SIM_CRASH_PREFIX:
		return index < (count + 1) / 2 ? KEEP : DROP;
	case SIM_CRASH_SUFFIX:
		return index >= (count + 1) / 2 ? KEEP : DROP;
	case SIM_CRASH_EVEN:
		return index % 2 == 0 ? KEEP : DROP;
	case SIM_CRASH_ODD:
		return index % 2 == 1 ? KEEP : DROP;
	case SIM_CRASH_ZEROS:
		return ZERO;
	case SIM_CRASH_STALE:
		return STALE;
	case SIM_CRASH_GARBAGE:
		return GARBAGE;
	case SIM_CRASH_TEAR_FIRST:
		return index == 0 ? DROP : KEEP;
	case SIM_CRASH_TEAR_LAST:
		return index + 1 == count ? DROP : KEEP;
	case SIM_CRASH_KEEP_ALL:
	case SIM_CRASH_DATA_ONLY:
	case SIM_KILL:
	case SIM_CRASH_PATTERNS:
		break;
	}
	return KEEP;
}

/* The bytes of some durable block of this disk, deleted files included: what a reused block shows. */
static const uint8_t *stale_sector(struct sim *w, struct sim_disk *d, unsigned sector)
{
	size_t inodes = 0;
	for (struct sim_inode *n = d->inodes; n; n = n->next)
		inodes++;
	for (int attempt = 0; attempt < 8 && inodes > 0; attempt++) {
		struct sim_inode *n = d->inodes;
		for (uint64_t skip = sim_world_below(w, inodes); skip > 0; skip--)
			n = n->next;
		uint64_t pages = MAX_OF(n->platter_size, n->reserved) / DISK_BLOCK + 1;
		struct page *p = sim_page_of(n, sim_world_below(w, pages), false);
		if (p)
			return p->platter + sector * SIM_SECTOR;
	}
	return NULL;
}

static void crash_sector(struct sim *w, struct sim_disk *d, struct page *p, unsigned sector, enum fate fate)
{
	uint8_t *at = p->cache + sector * SIM_SECTOR;
	const uint8_t *stale;
	switch (fate) {
	case KEEP:
		break;
	case DROP:
		memcpy(at, p->platter + sector * SIM_SECTOR, SIM_SECTOR);
		break;
	case ZERO:
		memset(at, 0, SIM_SECTOR);
		break;
	case STALE:
		stale = stale_sector(w, d, sector);
		if (stale)
			memmove(at, stale, SIM_SECTOR);
		else
			memset(at, 0, SIM_SECTOR);
		break;
	case GARBAGE:
		for (unsigned i = 0; i < SIM_SECTOR; i++)
			at[i] = (uint8_t)sim_world_rand(w);
		break;
	}
}

static void crash_inode(struct sim *w, struct sim_disk *d, struct sim_inode *n, enum sim_crash_pattern pattern)
{
	size_t count = 0, index = 0;
	for (size_t i = 0; i < n->page_count; i++)
		count += n->pages[i] ? (size_t)__builtin_popcount(n->pages[i]->dirty) : 0;
	for (size_t i = 0; i < n->page_count; i++) {
		struct page *p = n->pages[i];
		for (unsigned s = 0; p && s < SIM_PAGE_SECTORS; s++) {
			if (p->lost >> s & 1)
				crash_sector(w, d, p, s, DROP);
			else if (p->dirty >> s & 1)
				crash_sector(w, d, p, s, sector_fate(w, pattern, index++, count));
		}
	}
	bool keep_size = pattern != SIM_CRASH_DROP_ALL && pattern != SIM_CRASH_NAMES_ONLY;
	if (pattern == SIM_CRASH_SEEDED)
		keep_size = sim_world_below(w, 2) == 0;
	if (!keep_size || n->size_lost)
		n->size = n->platter_size;
}

/* After the fates of all are decided (stale ones look at other platters): what is, is durable. */
static void settle_inode(struct sim_inode *n)
{
	n->platter_size = n->size;
	n->reserved = n->size;
	n->size_lost = false;
	for (size_t i = 0; i < n->page_count; i++) {
		struct page *p = n->pages[i];
		uint64_t begin = (uint64_t)i * DISK_BLOCK;
		if (!p)
			continue;
		if (begin + DISK_BLOCK > n->size) { /* nothing is kept behind the end */
			size_t from = n->size > begin ? (size_t)(n->size - begin) : 0;
			memset(p->cache + from, 0, DISK_BLOCK - from);
		}
		memcpy(p->platter, p->cache, DISK_BLOCK);
		p->dirty = p->lost = 0;
	}
}

/* What is in a directory that is not there is not there. */
static void drop_orphans(struct names *n)
{
	for (size_t i = 0; i < n->count;) {
		if (sim_has_directory(n, n->at[i].text, sim_parent_len(n->at[i].text))) {
			i++;
			continue;
		}
		sim_name_remove(n, n->at[i].text);
		i = 0;
	}
}

static void crash_names(struct sim *w, struct sim_disk *d, enum sim_crash_pattern pattern)
{
	bool none = pattern == SIM_CRASH_DROP_ALL || pattern == SIM_CRASH_DATA_ONLY;
	for (size_t i = 0; i < d->op_count; i++) {
		struct dir_op *op = &d->ops[i];
		if (none || (pattern == SIM_CRASH_SEEDED && sim_world_below(w, 2) == 0))
			continue;
		apply_removal(d, op);
		if (op->add.inode)
			sim_name_set(&d->durable, op->add.text, op->add.inode);
	}
	d->op_count = 0;
	drop_orphans(&d->durable);
	names_copy(&d->now, &d->durable);
}

void sim_disk_leave(struct sim_proc *p)
{
	struct sim_disk *d = p->w->nodes[p->node].disk;
	for (int i = 0; i < p->file_count; i++) {
		if (p->files[i].inode)
			p->files[i].inode->opens--;
		p->files[i].inode = NULL;
	}
	for (struct sim_inode *n = d->inodes; n; n = n->next) {
		if (n->locked_by == p)
			n->locked_by = NULL;
	}
	sim_inodes_sweep(d);
}

/* Writes and removals in flight at the crash: oldest first, as unsynced; a kill lets each happen or not. */
static void land_writes(struct sim *w, struct sim_proc *p, enum sim_crash_pattern pattern)
{
	struct sim_flight *f = p->flights;
	while (f && f->next)
		f = f->next;
	for (; f; f = f->prev) {
		bool kind = f->op && (f->op->kind == IO_WRITE || f->op->kind == IO_UNLINK) && !f->crashed && f->refs > 1;
		if (kind && !f->fault && (pattern != SIM_KILL || sim_world_below(w, 2))) {
			f->flags &= ~(unsigned)IO_DSYNC;
			if (f->op->kind == IO_WRITE)
				write_effect(w, f, w->nodes[p->node].disk);
			else
				(void)sim_unlink(w->nodes[p->node].disk, f->op->data);
		}
		f->crashed = true;
	}
}

void sim_disk_crash(struct sim *w, struct sim_proc *p, enum sim_crash_pattern pattern)
{
	struct sim_disk *d = w->nodes[p->node].disk;
	land_writes(w, p, pattern);
	if (pattern != SIM_KILL) {
		for (struct sim_inode *n = d->inodes; n; n = n->next)
			crash_inode(w, d, n, pattern);
		for (struct sim_inode *n = d->inodes; n; n = n->next)
			settle_inode(n);
		crash_names(w, d, pattern);
	}
	sim_disk_leave(p);
}
