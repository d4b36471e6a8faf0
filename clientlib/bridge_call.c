/* clientlib/bridge_call.c: calls that cross a bridge. In the flow: INVOKE at `to` -> CALL at `from` to the address of the entry ->
 * ANSWER -> ANSWER.
 *
 * 1. A call that came is answered once: by what comes back, or because one of the connections is lost, or the bridge is full.
 * 2. What nobody waits for any more (cancelled, the caller's connection lost) is cancelled over there, too.
 * 3. It is asked once: where its fate is not known the answer is NOT_DELIVERED, with words that say so. */
#include "bridge_impl.h"

static void passing_free(struct passing *p)
{
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	free(p);
}

static void refuse(struct hlk_call *call, int code, const char *text)
{
	const struct hlk_answer a = { .code = code, .data = text, .size = strlen(text) };
	(void)holder_answer(call, &a);
}

/* True: the answer went as it is. */
static bool pass_back(struct hlk_bridge *b, struct hlk_call *call, const struct hlk_answer *answer)
{
	if (answer->kind == HLK_BLOB) {
		refuse(call, HLK_TOO_BIG, "the answer is a blob of the other broker, which does not cross a bridge");
		return false;
	}
	if (bridge_backlog(b->to) > BRIDGE_BACKLOG) {
		refuse(call, HLK_RESOURCE_EXHAUSTED, "the bridge has too much to send already");
		return false;
	}
	if (holder_answer(call, answer) != HLK_TOO_BIG)
		return true;
	refuse(call, HLK_TOO_BIG, b->to->error.text);
	return false;
}

static void answered(struct hlk *from, const struct hlk_answer *answer, void *ctx)
{
	struct passing *p = ctx;
	struct hlk_bridge *b = p->bridge;
	struct hlk_call *call = p->call;
	bool more = answer->more, lost = answer->code == HLK_NETWORK || answer->code == HLK_CLOSED;
	if (!more)
		passing_free(p);
	if (!call)
		return;
	if (lost)
		refuse(call, HLK_NOT_DELIVERED, "the bridge has lost the connection to its holder; it may have been carried out");
	else if (pass_back(b, call, answer) || !more)
		return;
	if (!more)
		return;
	p->call = NULL; /* it has its answer: no parts any more */
	(void)hlk_call_cancel(from, p->number);
}

void passing_begin(struct hlk *to, struct hlk_call *call, void *bridge)
{
	struct hlk_bridge *b = bridge;
	const struct hlk_call_info *info = hlk_call_info(call);
	const struct mirror *m = mirror_of(b, info->entry);
	(void)to;
	if (!m || !net_ready(b->from)) {
		refuse(call, HLK_NOT_DELIVERED, "the bridge has lost the connection to its holder");
		return;
	}
	if (info->kind == HLK_BLOB) {
		refuse(call, HLK_TOO_BIG, "a payload of more than 64 MiB does not cross a bridge");
		return;
	}
	if (bridge_backlog(b->from) > BRIDGE_BACKLOG) {
		refuse(call, HLK_RESOURCE_EXHAUSTED, "the bridge has too much to send already");
		return;
	}
	struct passing *p = calloc(1, sizeof *p);
	ENSURE(p != NULL);
	*p = (struct passing){ .bridge = b, .call = call, .next = b->passing, .link = &b->passing };
	if (p->next)
		p->next->link = &p->next;
	b->passing = p;
	hlk_call_set_ctx(call, p);
	const struct hlk_call_options o = {
		.address = m->address, .type = info->type, .deadline_ms = MAX_OF(info->deadline_ms, 1u), .stream = info->stream,
		.trace = info->trace, .correlation = info->correlation, .headers = info->headers, .header_count = info->header_count,
		.fingerprint = info->fingerprint };
	struct hlk_payload payload; /* inline, what was fetched, too; or a reference */
	int code = hlk_payload_of(b->from, info->kind, info->payload, info->size, &payload);
	if (code == HLK_OK)
		code = hlk_call_payload(b->from, &o, &payload, answered, p, &p->number);
	if (code == HLK_OK) {
		b->counts.calls_total++;
		return;
	}
	passing_free(p);
	refuse(call, code, b->from->error.text);
}

/* Its holder here, which is us, owes an answer all the same: it goes nowhere, and frees the call. */
static void cancel(struct passing *p)
{
	struct hlk_call *call = p->call;
	p->call = NULL;
	refuse(call, HLK_CANCELLED, "");
	(void)hlk_call_cancel(p->bridge->from, p->number); /* ends in answered() */
}

void passing_cancelled(struct hlk *to, struct hlk_call *call, void *bridge)
{
	(void)to;
	(void)bridge;
	cancel(hlk_call_ctx(call));
}

void passing_step(struct hlk_bridge *b)
{
	for (struct passing *p = b->passing, *next; p; p = next) {
		next = p->next;
		if (p->call && !hlk_call_wanted(p->call))
			cancel(p);
	}
}

void passing_end(struct hlk_bridge *b)
{
	while (b->passing) {
		struct passing *p = b->passing;
		struct hlk_call *call = p->call;
		p->call = NULL;
		if (call)
			refuse(call, HLK_NOT_DELIVERED, "the bridge was closed; it may have been carried out");
		(void)hlk_call_cancel(b->from, p->number);
	}
}
