/* broker/hot.c: objects of the tasks that have more to say than their number: leased, delayed, expiring, failed, dead,
 * retained. In the flow: apply and lease -> HOT. Owns the slabs, the pages by number, lists and heaps over them.
 *
 * Invariants
 *  1. A hot object is in `hots` from hot_new to hot_free; its pointer stays valid between.
 *  2. It is in at most one list and at most one heap; heap_index tells where in the heap.
 *  3. Where its payload is live, the special bit for it is set.
 *  4. A slab of objects, or pages, that are all free is given back, but for one of each: memory follows what is there.
 *  5. Nothing on disk follows the order of the pages: hots_sorted orders by number. */
#include "life.h"

enum { SLAB_HOTS = 256, HOT_PAGE = 8, SLAB_PAGES = 63, PAGE_SLAB_BYTES = 4096 };

/* Lists of slabs. */
#define PUSH(head, slab, next, prev)                \
	do {                                        \
		(slab)->prev = NULL;                \
		(slab)->next = (head);              \
		if (head)                           \
			(head)->prev = (slab);      \
		(head) = (slab);                    \
	} while (0)
#define TAKE_OUT(head, slab, next, prev)                                         \
	do {                                                                     \
		*((slab)->prev ? &(slab)->prev->next : &(head)) = (slab)->next; \
		if ((slab)->next)                                                \
			(slab)->next->prev = (slab)->prev;                       \
	} while (0)

struct hot_slab {
	struct hot_slab *next, *prev;           /* all of them */
	struct hot_slab *room_next, *room_prev; /* those with free objects, the last that got one first */
	struct hot *free;
	uint32_t used;
	struct hot hots[SLAB_HOTS];
};

struct hot_page {
	_Alignas(64) struct hot *at[HOT_PAGE];
};

struct hot_page_slab {
	struct hot_page_slab *next, *prev, *room_next, *room_prev;
	struct hot_page *free; /* linked by their first slot */
	uint32_t used;
	struct hot_page pages[SLAB_PAGES];
};
_Static_assert(sizeof(struct hot_page_slab) == PAGE_SLAB_BYTES, "a page finds its slab by its address");

void *mem_resize(struct tasks *t, void *old, size_t old_size, size_t new_size)
{
	t->memory = t->memory - old_size + new_size;
	if (new_size == 0) {
		free(old);
		return NULL;
	}
	void *fresh = realloc(old, new_size);
	ENSURE(fresh != NULL);
	return fresh;
}

/* ---- pages ---- */

static struct hot_page *page_of(const struct tasks *t, uint64_t task)
{
	struct map64_slot *slot = map64_find(&t->hots.pages, task / HOT_PAGE + 1);
	return slot ? (struct hot_page *)(uintptr_t)slot->value : NULL;
}

static void page_slab_add(struct tasks *t)
{
	struct hots *hots = &t->hots;
	struct hot_page_slab *slab = aligned_alloc(PAGE_SLAB_BYTES, sizeof *slab);
	ENSURE(slab != NULL);
	t->memory += sizeof *slab;
	slab->free = NULL;
	slab->used = 0;
	for (uint32_t i = SLAB_PAGES; i-- > 0;) {
		slab->pages[i].at[0] = (void *)slab->free;
		slab->free = &slab->pages[i];
	}
	PUSH(hots->slabs, slab, next, prev);
	PUSH(hots->room, slab, room_next, room_prev);
	hots->empty++;
}

static void page_give_back(struct tasks *t, struct hot_page *page)
{
	struct hots *hots = &t->hots;
	struct hot_page_slab *slab = (struct hot_page_slab *)((uintptr_t)page & ~(uintptr_t)(PAGE_SLAB_BYTES - 1));
	bool listed = slab->free != NULL;
	page->at[0] = (void *)slab->free;
	slab->free = page;
	slab->used--;
	if (slab->used == 0 && hots->empty > 0) {
		if (listed)
			TAKE_OUT(hots->room, slab, room_next, room_prev);
		TAKE_OUT(hots->slabs, slab, next, prev);
		t->memory -= sizeof *slab;
		free(slab);
		return;
	}
	hots->empty += slab->used == 0;
	if (hots->room == slab)
		return;
	if (listed)
		TAKE_OUT(hots->room, slab, room_next, room_prev);
	PUSH(hots->room, slab, room_next, room_prev);
}

static struct hot_page *page_make(struct tasks *t, uint64_t task)
{
	struct hots *hots = &t->hots;
	if (!hots->room)
		page_slab_add(t);
	struct hot_page_slab *slab = hots->room;
	struct hot_page *page = slab->free;
	slab->free = (void *)page->at[0];
	hots->empty -= slab->used++ == 0;
	if (!slab->free)
		TAKE_OUT(hots->room, slab, room_next, room_prev);
	*page = (struct hot_page){ { NULL } };
	map64_add(&hots->pages, task / HOT_PAGE + 1, (uint64_t)(uintptr_t)page, &t->memory);
	return page;
}

static void page_put(struct tasks *t, struct hot *h)
{
	struct hot_page *page = page_of(t, h->task);
	if (!page)
		page = page_make(t, h->task);
	ENSURE(page->at[h->task % HOT_PAGE] == NULL);
	page->at[h->task % HOT_PAGE] = h;
	t->hots.count++;
}

static void page_remove(struct tasks *t, uint64_t task)
{
	struct map64_slot *slot = map64_find(&t->hots.pages, task / HOT_PAGE + 1);
	ENSURE(slot != NULL);
	struct hot_page *page = (struct hot_page *)(uintptr_t)slot->value;
	ENSURE(page->at[task % HOT_PAGE] != NULL);
	page->at[task % HOT_PAGE] = NULL;
	t->hots.count--;
	for (uint32_t i = 0; i < HOT_PAGE; i++)
		if (page->at[i])
			return;
	map64_remove(&t->hots.pages, slot);
	page_give_back(t, page);
}

static void pages_free(struct tasks *t)
{
	while (t->hots.slabs) {
		struct hot_page_slab *next = t->hots.slabs->next;
		t->memory -= sizeof *next;
		free(t->hots.slabs);
		t->hots.slabs = next;
	}
	map64_free(&t->hots.pages, &t->memory);
	t->hots.room = NULL;
	t->hots.count = t->hots.empty = 0;
}

struct hot *hot_find(const struct tasks *t, uint64_t task)
{
	const struct hot_page *page = page_of(t, task);
	return page ? page->at[task % HOT_PAGE] : NULL;
}

struct hot *hots_next(const struct tasks *t, uint64_t *at, uint64_t *task)
{
	const struct map64 *pages = &t->hots.pages;
	for (; *at < (uint64_t)pages->cap * HOT_PAGE; ++*at) {
		const struct map64_slot *slot = &pages->slots[*at / HOT_PAGE];
		struct hot *h = slot->key ? ((struct hot_page *)(uintptr_t)slot->value)->at[*at % HOT_PAGE] : NULL;
		if (h) {
			*task = (slot->key - 1) * HOT_PAGE + *at % HOT_PAGE;
			++*at;
			return h;
		}
	}
	return NULL;
}

/* ---- objects ---- */

static void slab_add(struct tasks *t)
{
	struct hot_slab *slab = aligned_alloc(64, sizeof *slab);
	ENSURE(slab != NULL);
	t->memory += sizeof *slab;
	slab->free = NULL;
	slab->used = 0;
	for (uint32_t i = SLAB_HOTS; i-- > 0;) {
		slab->hots[i].place_in_slab = i;
		slab->hots[i].next = slab->free;
		slab->free = &slab->hots[i];
	}
	PUSH(t->slabs, slab, next, prev);
	PUSH(t->slab_room, slab, room_next, room_prev);
	t->slabs_empty++;
}

static void slab_give_back(struct tasks *t, struct hot *h)
{
	struct hot_slab *slab = (struct hot_slab *)(void *)((uint8_t *)(h - h->place_in_slab) - offsetof(struct hot_slab, hots));
	bool listed = slab->free != NULL;
	h->next = slab->free;
	slab->free = h;
	slab->used--;
	if (slab->used == 0 && t->slabs_empty > 0) {
		if (listed)
			TAKE_OUT(t->slab_room, slab, room_next, room_prev);
		TAKE_OUT(t->slabs, slab, next, prev);
		t->memory -= sizeof *slab;
		free(slab);
		return;
	}
	t->slabs_empty += slab->used == 0;
	if (t->slab_room == slab)
		return;
	if (listed)
		TAKE_OUT(t->slab_room, slab, room_next, room_prev);
	PUSH(t->slab_room, slab, room_next, room_prev);
}

struct hot *hot_make(struct tasks *t, uint64_t task, uint32_t class)
{
	if (t->slab_room == NULL)
		slab_add(t);
	struct hot_slab *slab = t->slab_room;
	struct hot *h = slab->free;
	slab->free = h->next;
	t->slabs_empty -= slab->used++ == 0;
	if (!slab->free)
		TAKE_OUT(t->slab_room, slab, room_next, room_prev);
	uint32_t options = class_options(class);
	*h = (struct hot){ .task = task, .class = class, .state = TASK_READY, .place_in_slab = h->place_in_slab };
	if (options < OPTIONS_MAX) {
		ENSURE(options < t->options_count);
		h->retention_ms = t->options[options].retention_ms;
		h->max_attempts = t->options[options].max_attempts;
	}
	page_put(t, h);
	return h;
}

struct hot *hot_new(struct tasks *t, uint64_t task, uint32_t class)
{
	segment_set_special(t, task);
	return hot_make(t, task, class);
}

void hot_free(struct tasks *t, struct hot *h)
{
	ENSURE(h->place == PLACE_NONE || h->place == PLACE_FRESH);
	ENSURE(h->heap_index == 0);
	ENSURE(h->holder == NULL);
	life_free(t, h);
	page_remove(t, h->task);
	h->task = 0;
	slab_give_back(t, h);
}

/* Not in the object: few tasks have more than their class says, and those know it from their segment. */
static const struct segment_extra *hot_extra(struct tasks *t, const struct hot *h)
{
	uint32_t index;
	struct segment *s = class_extra(h->class) ? segment_of(t, h->task, &index) : NULL;
	return s ? segment_extra(s, index) : NULL;
}

uint32_t hot_slot(struct tasks *t, const struct hot *h)
{
	const struct segment_extra *extra = hot_extra(t, h);
	return extra ? lane_class_slot(t, lane_class_by_hash(t, extra->lane)) : 0;
}

uint64_t hot_order(struct tasks *t, const struct hot *h)
{
	const struct segment_extra *extra = hot_extra(t, h);
	return extra ? extra->order : 0;
}

bool hot_is_plain(const struct hot *h)
{
	return h->final == TASK_UNKNOWN && h->ready_ms == 0 && h->expires_ms == 0 && h->failed == 0 &&
	       h->attempts == 0 && h->result_addr == 0 && !h->cancel_noted && !h->fixed && !h->blocked && !h->counted &&
	       !life_is_durable(h->life);
}

void hot_push_back(struct hot_list *list, struct hot *h)
{
	h->prev = list->last;
	h->next = NULL;
	if (list->last)
		list->last->next = h;
	else
		list->first = h;
	list->last = h;
}

void hot_push_front(struct hot_list *list, struct hot *h)
{
	h->next = list->first;
	h->prev = NULL;
	if (list->first)
		list->first->prev = h;
	else
		list->last = h;
	list->first = h;
}

void hot_insert_after(struct hot_list *list, struct hot *before, struct hot *h)
{
	if (!before) {
		hot_push_front(list, h);
		return;
	}
	h->prev = before;
	h->next = before->next;
	before->next = h;
	if (h->next)
		h->next->prev = h;
	else
		list->last = h;
}

void hot_unlink(struct hot_list *list, struct hot *h)
{
	ENSURE(h->prev ? h->prev->next == h : list->first == h);
	ENSURE(h->next ? h->next->prev == h : list->last == h);
	if (h->prev)
		h->prev->next = h->next;
	else
		list->first = h->next;
	if (h->next)
		h->next->prev = h->prev;
	else
		list->last = h->prev;
	h->prev = h->next = NULL;
}

void hots_free(struct tasks *t)
{
	uint64_t at = 0, task;
	for (struct hot *h; (h = hots_next(t, &at, &task)) != NULL;)
		life_free(t, h);
	while (t->slabs) {
		struct hot_slab *next = t->slabs->next;
		t->memory -= sizeof *next;
		free(t->slabs);
		t->slabs = next;
	}
	t->slab_room = NULL;
	t->slabs_empty = 0;
	pages_free(t);
	map64_free(&t->children, &t->memory);
	(void)mem_resize(t, t->timers.items, t->timers.cap * sizeof *t->timers.items, 0);
	(void)mem_resize(t, t->retained.items, t->retained.cap * sizeof *t->retained.items, 0);
	t->timers = t->retained = (struct heap){ NULL, 0, 0 };
}

/* ---- heaps: by due time, then by number, so that equal times have one order ---- */

static bool heap_before(const struct heap_item *a, const struct heap_item *b)
{
	return a->due != b->due ? a->due < b->due : a->hot->task < b->hot->task;
}

static void heap_put(struct heap *heap, uint32_t i, struct heap_item item)
{
	heap->items[i] = item;
	item.hot->heap_index = i + 1;
}

static void heap_up(struct heap *heap, uint32_t i, struct heap_item item)
{
	while (i > 0 && heap_before(&item, &heap->items[(i - 1) / 2])) {
		heap_put(heap, i, heap->items[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(heap, i, item);
}

static void heap_down(struct heap *heap, uint32_t i, struct heap_item item)
{
	for (;;) {
		uint32_t child = 2 * i + 1;
		if (child >= heap->count)
			break;
		if (child + 1 < heap->count && heap_before(&heap->items[child + 1], &heap->items[child]))
			child++;
		if (!heap_before(&heap->items[child], &item))
			break;
		heap_put(heap, i, heap->items[child]);
		i = child;
	}
	heap_put(heap, i, item);
}

static void heap_settle(struct heap *heap, uint32_t i, struct heap_item item)
{
	if (i > 0 && heap_before(&item, &heap->items[(i - 1) / 2]))
		heap_up(heap, i, item);
	else
		heap_down(heap, i, item);
}

static void heap_remove(struct heap *heap, struct hot *h)
{
	uint32_t i = h->heap_index - 1;
	ENSURE(i < heap->count && heap->items[i].hot == h);
	h->heap_index = 0;
	struct heap_item last = heap->items[--heap->count];
	if (last.hot != h)
		heap_settle(heap, i, last);
}

void heap_set(struct tasks *t, struct heap *heap, struct hot *h, uint64_t due)
{
	if (due == NEVER) {
		if (h->heap_index)
			heap_remove(heap, h);
		return;
	}
	struct heap_item item = { due, h };
	if (h->heap_index) {
		ENSURE(heap->items[h->heap_index - 1].hot == h);
		heap_settle(heap, h->heap_index - 1, item);
		return;
	}
	if (heap->count == heap->cap) {
		uint32_t cap = heap->cap ? heap->cap * 2 : 64;
		heap->items = mem_resize(t, heap->items, heap->cap * sizeof *heap->items, cap * sizeof *heap->items);
		heap->cap = cap;
	}
	heap->count++;
	heap_up(heap, heap->count - 1, item);
}

static int by_task(const void *a, const void *b)
{
	const struct hot *x = *(struct hot *const *)a, *y = *(struct hot *const *)b;
	return x->task < y->task ? -1 : x->task > y->task;
}

struct hot **hots_sorted(const struct tasks *t, bool (*keep)(const struct hot *h), uint32_t *count)
{
	struct hot **out = malloc(size_mul(size_add(t->hots.count, 1), sizeof(struct hot *)));
	ENSURE(out != NULL);
	uint32_t n = 0;
	uint64_t at = 0, task;
	for (struct hot *h; (h = hots_next(t, &at, &task)) != NULL;)
		if (keep(h))
			out[n++] = h;
	qsort(out, n, sizeof(struct hot *), by_task);
	*count = n;
	return out;
}
