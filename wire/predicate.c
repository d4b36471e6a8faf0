/* wire/predicate.c: conditions on parameters: text -> packed nodes -> true or false, and back to text.
 *
 * In the flow: SUBMIT, CALL, BIND -> route: whose entry fits?
 *
 * 1. A node: u8 kind, u16 length, then that many bytes: the nodes below (AND, OR, NOT), or u8 length, name and value (IN: values).
 * 2. Nodes are nested at most LIMIT_PREDICATE_DEPTH deep: recursion is bounded, in parsing and in evaluation.
 * 3. Evaluation reads the packed bytes of both sides and nothing else. */
#include "predicate.h"

enum node_kind { AND = 1, OR, NOT, EQ, NE, LT, LE, GT, GE, IN, CONTAINS, GLOB, HAS };

struct node {
	uint8_t kind;
	struct span body;
};

static bool node_next(struct span nodes, size_t *at, struct node *out)
{
	if (*at >= nodes.len)
		return false;
	struct reader r = { .rest = span_sub(nodes, *at, nodes.len - *at) };
	out->kind = read_u8(&r);
	out->body = read_bytes(&r, read_u16(&r));
	ENSURE(!r.failed);
	*at = nodes.len - r.rest.len;
	return true;
}

/* ---- parsing ---- */

static void node_begin(struct buf *out, uint8_t kind)
{
	buf_append(out, &kind, 1);
	(void)buf_extend(out, 2);
}

static void node_end(struct buf *out, size_t begin)
{
	size_t len = out->len - begin - 3;
	ENSURE(len <= UINT16_MAX);
	const uint16_t v = (uint16_t)len;
	memcpy(out->data + begin + 1, &v, 2);
}

/* Puts a head in front of what has been written since `begin`. */
static void node_wrap(struct buf *out, size_t begin, uint8_t kind)
{
	(void)buf_extend(out, 3);
	memmove(out->data + begin + 3, out->data + begin, out->len - begin - 3);
	out->data[begin] = kind;
}

static void put_name(struct buf *out, struct span name)
{
	const uint8_t len = (uint8_t)name.len;
	buf_append(out, &len, 1);
	buf_append(out, name.data, name.len);
}

/* A glob whose pieces with ? need more comparisons than this in one text does not hold: nothing sensible comes near. */
enum { GLOB_STEPS = 1 << 16 };

static const struct { const char *token; uint8_t kind; } operators[] = {
	{ "==", EQ }, { "!=", NE }, { "<=", LE }, { ">=", GE }, { "<", LT }, { ">", GT },
	{ "in", IN }, { "contains", CONTAINS }, { "glob", GLOB },
};

static const char *operator_text(uint8_t kind)
{
	for (size_t i = 0; i < COUNT_OF(operators); i++)
		if (operators[i].kind == kind)
			return operators[i].token;
	return "?";
}

/* What each operator can be held against. */
static enum err check_operand(struct scan *s, size_t where, uint8_t kind, uint8_t value)
{
	if (value == PARAM_STRINGS)
		return scan_refuse(s, where, "%s takes one value, not a list", operator_text(kind));
	if (value == PARAM_BOOL && kind != EQ && kind != NE && kind != IN)
		return scan_refuse(s, where, "%s cannot be asked of true and false", operator_text(kind));
	if (value != PARAM_STRING && (kind == CONTAINS || kind == GLOB))
		return scan_refuse(s, where, "%s takes a string", operator_text(kind));
	return ERR_OK;
}

static enum err parse_values(struct scan *s, struct buf *out)
{
	if (!scan_take(s, "["))
		return scan_refuse(s, s->at, "a [ was expected behind in");
	while (scan_peek(s) != ']') {
		size_t where = s->at, begin = out->len;
		enum err e = scan_value(s, out);
		if (e == ERR_OK)
			e = check_operand(s, where, IN, out->data[begin]);
		if (e != ERR_OK)
			return e;
		if (!scan_take(s, ",") && scan_peek(s) != ']')
			return scan_refuse(s, s->at, "a , or ] was expected in the list");
	}
	s->at++;
	return ERR_OK;
}

static enum err parse_has(struct scan *s, struct buf *out)
{
	struct span name;
	size_t begin = out->len;
	node_begin(out, HAS);
	enum err e = scan_name(s, &name);
	if (e != ERR_OK)
		return e;
	if (!scan_take(s, ")"))
		return scan_refuse(s, s->at, "a ) was expected");
	put_name(out, name);
	node_end(out, begin);
	return ERR_OK;
}

static enum err parse_term(struct scan *s, struct buf *out)
{
	struct span name;
	enum err e = scan_name(s, &name);
	if (e != ERR_OK)
		return e;
	(void)scan_peek(s);
	size_t begin = out->len, op = 0;
	while (op < COUNT_OF(operators) && !scan_take(s, operators[op].token))
		op++;
	if (op == COUNT_OF(operators))
		return scan_refuse(s, s->at, "an operator was expected behind %.*s", (int)name.len, name.data);
	const uint8_t kind = operators[op].kind;
	node_begin(out, kind);
	put_name(out, name);
	if (kind == IN) {
		e = parse_values(s, out);
	} else {
		(void)scan_peek(s);
		size_t where = s->at, value = out->len;
		e = scan_value(s, out);
		if (e == ERR_OK)
			e = check_operand(s, where, kind, out->data[value]);
	}
	if (e == ERR_OK)
		node_end(out, begin);
	return e;
}

static enum err parse_or(struct scan *s, struct buf *out, int depth);

static enum err parse_unary(struct scan *s, struct buf *out, int depth)
{
	(void)scan_peek(s);
	if (depth >= LIMIT_PREDICATE_DEPTH)
		return scan_refuse(s, s->at, "nested more than %d deep", LIMIT_PREDICATE_DEPTH);
	if (scan_take(s, "!")) {
		size_t begin = out->len;
		node_begin(out, NOT);
		enum err e = parse_unary(s, out, depth + 1);
		if (e == ERR_OK)
			node_end(out, begin);
		return e;
	}
	if (scan_take(s, "(")) {
		enum err e = parse_or(s, out, depth + 1);
		if (e == ERR_OK && !scan_take(s, ")"))
			return scan_refuse(s, s->at, "a ) was expected");
		return e;
	}
	size_t from = s->at;
	if (scan_take(s, "has") && scan_take(s, "("))
		return parse_has(s, out);
	s->at = from; /* a parameter may be called has */
	return parse_term(s, out);
}

static enum err parse_chain(struct scan *s, struct buf *out, int depth, uint8_t kind)
{
	const char *token = kind == OR ? "||" : "&&";
	size_t begin = out->len;
	bool wrapped = false;
	for (;;) {
		enum err e = kind == OR ? parse_chain(s, out, depth, AND) : parse_unary(s, out, depth);
		if (e != ERR_OK)
			return e;
		if (!scan_take(s, token))
			break;
		if (!wrapped)
			node_wrap(out, begin, kind);
		wrapped = true;
	}
	if (wrapped)
		node_end(out, begin);
	return ERR_OK;
}

static enum err parse_or(struct scan *s, struct buf *out, int depth)
{
	return parse_chain(s, out, depth, OR);
}

enum err predicate_parse(struct span source, struct buf *out, char text[128])
{
	struct scan s = { .source = source, .what = "predicate", .text = text };
	if (source.len > LIMIT_PREDICATE_BYTES) {
		(void)snprintf(text, 128, "predicate: %zu bytes are over the limit of %d", source.len, LIMIT_PREDICATE_BYTES);
		return ERR_TOO_BIG;
	}
	(void)scan_peek(&s);
	if (s.at == source.len)
		return ERR_OK;
	size_t begin = out->len;
	enum err e = parse_or(&s, out, 0);
	(void)scan_peek(&s);
	if (e == ERR_OK && s.at < source.len)
		e = scan_refuse(&s, s.at, "&&, || or the end was expected");
	if (e != ERR_OK)
		out->len = begin;
	return e;
}

/* ---- evaluation ---- */

enum { LESS = -1, SAME, GREATER, UNLIKE };

static int order_of(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

/* Exact, where a double could not hold the integer. */
static int order_mixed(int64_t integer, double real)
{
	if (real >= 0x1p63)
		return LESS;
	if (real < -0x1p63)
		return GREATER;
	int64_t whole = (int64_t)real;
	if (integer != whole)
		return order_of(integer, whole);
	double rest = real - (double)whole; /* exact: where whole is large there is none */
	return (rest < 0) - (rest > 0);
}

static int order_values(const struct param_value *a, const struct param_value *b)
{
	if (a->kind == PARAM_INT && b->kind == PARAM_INT)
		return order_of(a->integer, b->integer);
	if (a->kind == PARAM_INT && b->kind == PARAM_DOUBLE)
		return order_mixed(a->integer, b->real);
	if (a->kind == PARAM_DOUBLE && b->kind == PARAM_INT)
		return -order_mixed(b->integer, a->real);
	if (a->kind != b->kind || a->kind == PARAM_STRINGS)
		return UNLIKE;
	if (a->kind == PARAM_DOUBLE)
		return (a->real > b->real) - (a->real < b->real);
	if (a->kind == PARAM_BOOL)
		return order_of(a->truth, b->truth);
	size_t len = MIN_OF(a->string.len, b->string.len);
	int order = len > 0 ? memcmp(a->string.data, b->string.data, len) : 0;
	return order != 0 ? order_of(order, 0) : order_of((int64_t)a->string.len, (int64_t)b->string.len);
}

static bool compare(uint8_t kind, const struct param_value *have, const struct param_value *want)
{
	int order = order_values(have, want);
	if (order == UNLIKE)
		return false;
	switch (kind) {
	case EQ: return order == SAME;
	case NE: return order != SAME;
	case LT: return order == LESS;
	case LE: return order != GREATER;
	case GT: return order == GREATER;
	default: return order != LESS;
	}
}

/* Bytes of a pattern without a star, as long as the text. */
static bool piece_is(struct span piece, const uint8_t *text, uint32_t *steps)
{
	for (size_t i = 0; i < piece.len; i++, ++*steps)
		if (piece.data[i] != '?' && piece.data[i] != text[i])
			return false;
	return true;
}

/* Where a piece stands first in the text; SIZE_MAX = nowhere. Without ? time is linear; with it every step counts. */
static size_t piece_find(struct span piece, struct span text, uint32_t *steps)
{
	if (piece.len > text.len)
		return SIZE_MAX;
	if (piece.len == 0)
		return 0;
	if (!memchr(piece.data, '?', piece.len)) {
		const uint8_t *at = memmem(text.data, text.len, piece.data, piece.len);
		return at ? (size_t)(at - text.data) : SIZE_MAX;
	}
	for (size_t at = 0; at + piece.len <= text.len && *steps < GLOB_STEPS; at++, ++*steps)
		if (piece_is(piece, text.data + at, steps))
			return at;
	return SIZE_MAX;
}

/* The pieces between stars, from left to right, each where it stands first; the last one at the end. */
bool glob_matches(struct span pattern, struct span text)
{
	uint32_t steps = 0;
	const uint8_t *star;
	bool first = true;
	while (pattern.len > 0 && (star = memchr(pattern.data, '*', pattern.len)) != NULL) {
		struct span piece = span_sub(pattern, 0, (size_t)(star - pattern.data));
		size_t at = 0;
		if (first && (piece.len > text.len || !piece_is(piece, text.data, &steps)))
			return false;
		if (!first && (at = piece_find(piece, text, &steps)) == SIZE_MAX)
			return false;
		text = span_sub(text, at + piece.len, text.len - at - piece.len);
		pattern = span_sub(pattern, piece.len + 1, pattern.len - piece.len - 1);
		first = false;
	}
	if (first ? pattern.len != text.len : pattern.len > text.len)
		return false;
	return piece_is(pattern, text.data + (text.len - pattern.len), &steps);
}

static bool string_fits(uint8_t kind, struct span have, struct span want, bool in_list)
{
	if (kind == GLOB)
		return glob_matches(want, have);
	return in_list ? span_eq(have, want) : want.len == 0 || memmem(have.data, have.len, want.data, want.len) != NULL;
}

static bool term_holds(const struct node *n, struct span params)
{
	struct reader r = { .rest = n->body };
	struct span name = read_bytes(&r, read_u8(&r)), item;
	struct param_value have, want;
	if (!params_find(params, name, &have))
		return false;
	if (n->kind == HAS)
		return true;
	if (n->kind == IN) {
		while (r.rest.len > 0) {
			want = value_read(&r);
			if (compare(EQ, &have, &want))
				return true;
		}
		return false;
	}
	want = value_read(&r);
	if (n->kind != CONTAINS && n->kind != GLOB)
		return compare(n->kind, &have, &want);
	if (have.kind == PARAM_STRING)
		return string_fits(n->kind, have.string, want.string, false);
	for (size_t at = 0; have.kind == PARAM_STRINGS && params_string(&have, &at, &item);)
		if (string_fits(n->kind, item, want.string, true))
			return true;
	return false;
}

static bool node_holds(const struct node *n, struct span params)
{
	struct node below;
	if (n->kind > NOT)
		return term_holds(n, params);
	for (size_t at = 0; node_next(n->body, &at, &below);) {
		bool holds = node_holds(&below, params);
		if (n->kind == NOT)
			return !holds;
		if (holds == (n->kind == OR))
			return holds;
	}
	return n->kind == AND;
}

bool predicate_holds(struct span packed, struct span params)
{
	struct node n;
	size_t at = 0;
	return !node_next(packed, &at, &n) || node_holds(&n, params);
}

struct span predicate_failing(struct span packed, struct span params)
{
	struct node n, part;
	size_t at = 0;
	if (!node_next(packed, &at, &n) || node_holds(&n, params))
		return span_of(NULL, 0);
	if (n.kind != AND)
		return packed;
	size_t from = 0;
	for (at = 0; node_next(n.body, &at, &part); from = at)
		if (!node_holds(&part, params))
			return span_sub(n.body, from, at - from);
	return packed;
}

/* ---- text ---- */

static void put_text(struct buf *out, const char *text)
{
	buf_append(out, text, strlen(text));
}

static void print_term(const struct node *n, struct buf *out)
{
	struct reader r = { .rest = n->body };
	struct span name = read_bytes(&r, read_u8(&r));
	if (n->kind == HAS)
		put_text(out, "has(");
	buf_append(out, name.data, name.len);
	if (n->kind == HAS) {
		put_text(out, ")");
		return;
	}
	put_text(out, " ");
	put_text(out, operator_text(n->kind));
	put_text(out, n->kind == IN ? " [" : " ");
	while (r.rest.len > 0) {
		const struct param_value value = value_read(&r);
		value_print(&value, out);
		if (r.rest.len > 0)
			put_text(out, ", ");
	}
	if (n->kind == IN)
		put_text(out, "]");
}

static void print_node(const struct node *n, struct buf *out)
{
	struct node below;
	if (n->kind > NOT) {
		print_term(n, out);
		return;
	}
	if (n->kind == NOT)
		put_text(out, "!");
	for (size_t at = 0; node_next(n->body, &at, &below);) {
		/* Only what reads the same again stays without parentheses. */
		bool bare = n->kind == NOT ? below.kind == NOT || below.kind == HAS : below.kind >= NOT;
		put_text(out, bare ? "" : "(");
		print_node(&below, out);
		put_text(out, bare ? "" : ")");
		if (at < n->body.len)
			put_text(out, n->kind == OR ? " || " : " && ");
	}
}

void predicate_print(struct span packed, struct buf *out)
{
	struct node n;
	size_t at = 0;
	if (node_next(packed, &at, &n))
		print_node(&n, out);
}
