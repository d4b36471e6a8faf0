/* broker/shares.c: the weights of principals in a fair queue, as an operator gave them. In the flow: apply(REC_QUEUE) -> SHARES -> fair.c.
 *
 * Invariants
 *  1. Durable: changed by apply and restore alone; ascending by pattern, so that equal settings are equal bytes.
 *  2. The cost of every account follows the list at once. */
#include "tasks_impl.h"

static int compare(struct span a, struct span b)
{
	size_t common = MIN_OF(a.len, b.len);
	int order = common ? memcmp(a.data, b.data, common) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static struct span pattern_of(const struct share *s)
{
	return span_of(s->pattern, s->size);
}

/* Where the pattern is, or belongs. */
static uint32_t place_of(const struct shares *s, struct span pattern, bool *there)
{
	uint32_t i = 0;
	while (i < s->count && compare(pattern_of(&s->list[i]), pattern) < 0)
		i++;
	*there = i < s->count && span_eq(pattern_of(&s->list[i]), pattern);
	return i;
}

/* How well it matches: 0 = not, and a name better than any pattern. */
static uint32_t match(struct span pattern, struct span principal)
{
	bool open = pattern.len > 0 && pattern.data[pattern.len - 1] == '*';
	size_t fixed = pattern.len - open;
	if (open && principal.len >= fixed && (fixed == 0 || memcmp(pattern.data, principal.data, fixed) == 0))
		return 1 + (uint32_t)fixed;
	return !open && span_eq(pattern, principal) ? UINT32_MAX : 0;
}

uint32_t shares_weight(const struct shares *s, struct span principal)
{
	uint32_t best = 0, weight = 1;
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t well = match(pattern_of(&s->list[i]), principal);
		weight = well > best ? s->list[i].weight : weight;
		best = MAX_OF(best, well);
	}
	return weight;
}

bool shares_ok(const struct shares *s, struct span pattern, uint32_t weight, char text[256])
{
	bool there;
	(void)place_of(s, pattern, &there);
	const uint8_t *star = pattern.len ? memchr(pattern.data, '*', pattern.len) : NULL;
	bool bad = pattern.len == 0 || pattern.len > LIMIT_NAME_BYTES || (star && star != pattern.data + pattern.len - 1);
	for (size_t i = 0; i < pattern.len; i++)
		bad = bad || pattern.data[i] < ' ';
	if (bad)
		(void)snprintf(text, 256, "a weight is for a name of at most %d bytes, which may end in a star", LIMIT_NAME_BYTES);
	else if (weight > FAIR_WEIGHT_MAX)
		(void)snprintf(text, 256, "weight %u is above %d", weight, FAIR_WEIGHT_MAX);
	else if (weight > 0 && !there && s->count == SHARES_MAX)
		(void)snprintf(text, 256, "the queue has %d patterns with a weight already", SHARES_MAX);
	else
		return true;
	return false;
}

static void share_remove(struct tasks *t, struct shares *s, uint32_t i)
{
	(void)mem_resize(t, s->list[i].pattern, s->list[i].size, 0);
	memmove(&s->list[i], &s->list[i + 1], (s->count - i - 1) * sizeof *s->list);
	s->list = mem_resize(t, s->list, s->count * sizeof *s->list, (s->count - 1) * sizeof *s->list);
	s->count--;
}

static void share_insert(struct tasks *t, struct shares *s, uint32_t i, struct span pattern)
{
	s->list = mem_resize(t, s->list, s->count * sizeof *s->list, (s->count + 1) * sizeof *s->list);
	memmove(&s->list[i + 1], &s->list[i], (s->count - i) * sizeof *s->list);
	s->count++;
	s->list[i] = (struct share){ .pattern = mem_resize(t, NULL, 0, pattern.len), .size = (uint8_t)pattern.len };
	memcpy(s->list[i].pattern, pattern.data, pattern.len);
}

bool shares_set(struct tasks *t, struct queue *q, struct span pattern, uint32_t weight)
{
	struct shares *s = &q->shares;
	char text[256];
	bool there;
	uint32_t i = place_of(s, pattern, &there);
	if (!shares_ok(s, pattern, weight, text))
		return false;
	if (weight > 0 && !there)
		share_insert(t, s, i, pattern);
	if (weight > 0)
		s->list[i].weight = (uint16_t)weight;
	else if (there)
		share_remove(t, s, i);
	fair_weigh(q);
	return true;
}

void shares_print(const struct shares *s, struct buf *out)
{
	for (uint32_t i = 0; i < s->count; i++) {
		char weight[16];
		int size = snprintf(weight, sizeof weight, "=%u\n", s->list[i].weight);
		buf_append(out, s->list[i].pattern, s->list[i].size);
		buf_append(out, weight, (size_t)size);
	}
}

/* ---- bytes: u32 count, u32 0, then {u16 weight, u8 size, u8[5] 0, pattern padded to 8} ---- */

struct share_head {
	uint16_t weight;
	uint8_t size, zero[5];
};
_Static_assert(sizeof(struct share_head) == 8, "on disk");

void shares_put(const struct shares *s, struct buf *out)
{
	uint32_t head[2] = { s->count, 0 };
	uint64_t zero = 0;
	buf_append(out, head, sizeof head);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct share_head h = { .weight = s->list[i].weight, .size = s->list[i].size };
		buf_append(out, &h, sizeof h);
		buf_append(out, s->list[i].pattern, h.size);
		buf_append(out, &zero, align_up(h.size, 8) - h.size);
	}
}

bool shares_get(struct tasks *t, struct queue *q, struct reader *r)
{
	uint32_t count = read_u32(r);
	(void)read_u32(r);
	if (r->failed || count > SHARES_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct share_head h = { .weight = 0 };
		read_into(r, &h, sizeof h);
		struct span pattern = read_bytes(r, h.size);
		(void)read_bytes(r, align_up(h.size, 8) - h.size);
		if (r->failed || h.weight == 0 || !shares_set(t, q, pattern, h.weight) || q->shares.count != i + 1)
			return false;
	}
	return true;
}

void shares_free(struct tasks *t, struct queue *q)
{
	while (q->shares.count > 0)
		share_remove(t, &q->shares, q->shares.count - 1);
}
