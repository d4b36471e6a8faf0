/* clientlib/bridge.c: two clients that make one directory out of two brokers: their connections, beginning and end.
 *
 * 1. Everything happens in hlk_bridge_process, one end after the other: callbacks of either client only put aside what the other one is
 *    to send, which leaves at the end of the same call.
 * 2. It begins when both brokers are known, and anew where one of them is another than before: what was declared said where it came
 *    from and had been through.
 * 3. What a bridge declared stands only while both ends are connected. */
#include "bridge_impl.h"

#include <poll.h>

void bridge_tell(struct hlk_bridge *b, const struct hlk_bridge_note *note)
{
	struct hlk_bridge_note n = *note;
	n.service = n.service ? n.service : "";
	n.address = n.address ? n.address : "";
	n.other = n.other ? n.other : "";
	n.text = n.text ? n.text : "";
	if (b->note)
		b->note(b, &n, b->ctx);
}

size_t bridge_backlog(const struct hlk *c)
{
	return c->link.out.len - c->link.out_sent + c->holder.payload.len + c->caller.unsent.len + c->caller.batch.payload.len;
}

/* ---- beginning ---- */

static void stop(struct hlk_bridge *b, const char *why)
{
	if (!b->begun)
		return;
	b->begun = false;
	mirrors_drop(b, why);
	mirrors_end(b);
	feeds_end(b);
}

static void begin(struct hlk_bridge *b)
{
	b->from_store = b->from->session.store;
	b->to_store = b->to->session.store;
	b->code = HLK_OK;
	if (b->from_store == 0 || b->to_store == 0)
		b->code = error_set(b->from, HLK_UNSUPPORTED, "bridge: a broker does not tell the number of its store");
	else if (b->from_store == b->to_store)
		b->code = error_set(b->from, HLK_INVALID_INPUT, "bridge: both ends are at the same broker");
	if (b->code != HLK_OK)
		return;
	b->begun = true;
	int code = mirrors_begin(b);
	if (code == HLK_OK)
		code = feeds_begin(b);
	if (code != HLK_OK)
		bridge_tell(b, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_REFUSED, .code = code, .text = b->from->error.text });
}

/* ---- connections ---- */

/* True: it has changed. One that cannot be made in the first place is told of once. */
static bool look(struct hlk_bridge *b, struct hlk *c, struct bridge_end *end, const char *which)
{
	bool now = net_ready(c), changed = now != end->up;
	bool tell = changed || (!now && !end->told && c->session.last_code != 0);
	end->up = now;
	if (!tell)
		return false;
	end->told = !now;
	bridge_tell(b, &(struct hlk_bridge_note){ .kind = now ? HLK_BRIDGE_UP : HLK_BRIDGE_DOWN, .address = which,
						  .text = now ? c->session.node : c->session.last_text });
	return changed;
}

/* Neither end lets in whom it has refused: it may, some day. */
static int refusal(struct hlk_bridge *b)
{
	const struct hlk *bad = b->from->session.refused_code ? b->from : b->to;
	if (!bad->session.refused_code)
		return b->code;
	char text[MAP_ERROR_TEXT];
	(void)snprintf(text, sizeof text, "bridge: %s: %.400s", bad == b->from ? "from" : "to", bad->session.last_text);
	return error_set(b->from, bad->session.refused_code, "%s", text);
}

static void look_at_serve(struct hlk_bridge *b)
{
	const struct worker *w = &b->to->worker;
	bool refused = b->to_end.up && w->serve_code != HLK_OK;
	if (refused && !b->refused)
		bridge_tell(b, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_REFUSED, .code = w->serve_code, .text = w->serve_text });
	b->refused = refused;
}

static void step(struct hlk_bridge *b)
{
	bool other = b->begun && ((net_ready(b->from) && b->from->session.store != b->from_store) ||
				  (net_ready(b->to) && b->to->session.store != b->to_store));
	if (look(b, b->from, &b->from_end, "from") && !b->from_end.up)
		mirrors_drop(b, "the connection to its broker is lost");
	(void)look(b, b->to, &b->to_end, "to");
	if (other)
		stop(b, "this is another broker than before");
	if (!b->begun && b->from_end.up && b->to_end.up &&
	    (b->code == HLK_OK || b->from->session.store != b->from_store || b->to->session.store != b->to_store))
		begin(b);
	passing_step(b);
	feeds_step(b);
	look_at_serve(b);
}

int hlk_bridge_process(struct hlk_bridge *b)
{
	int code = hlk_process(b->from);
	if (code == HLK_OK)
		code = hlk_process(b->to);
	if (code != HLK_OK)
		return code; /* from a callback */
	step(b);
	(void)hlk_flush(b->from);
	(void)hlk_flush(b->to);
	return refusal(b);
}

int hlk_bridge_run(struct hlk_bridge *b, int timeout_ms)
{
	struct pollfd fds[2] = { { hlk_fd(b->from), POLLIN, 0 }, { hlk_fd(b->to), POLLIN, 0 } };
	if (!b->from->in_step && !b->to->in_step)
		(void)poll(fds, 2, timeout_ms);
	return hlk_bridge_process(b);
}

void hlk_bridge_count(const struct hlk_bridge *b, struct hlk_bridge_counts *out)
{
	*out = b->counts;
	for (const struct mirror *m = b->mirrors; m; m = m->next)
		out->entries++;
	for (const struct passing *p = b->passing; p; p = p->next)
		out->calls++;
	for (const struct feed *f = b->feeds; f; f = f->next)
		out->events_dropped_total += f->dropped;
}

/* ---- opening and closing ---- */

static char *copy(const char *text)
{
	char *out = strdup(text);
	ENSURE(out != NULL);
	return out;
}

static int options_check(const struct hlk_bridge_options *o, struct hlk_error *error)
{
	int code = HLK_OK;
	if (!o->from || !o->to || o->from == o->to)
		error_fill(error, code = HLK_INVALID_INPUT, "bridge: needs two clients");
	else if (o->service_count > BRIDGE_WATCHES || o->event_count > BRIDGE_WATCHES)
		error_fill(error, code = HLK_TOO_BIG, "bridge: over %d services, or patterns of events", BRIDGE_WATCHES);
	else if (o->event_credit > LIMIT_ENTRY_CREDIT)
		error_fill(error, code = HLK_TOO_BIG, "bridge: a credit of %u events is over %d", o->event_credit, LIMIT_ENTRY_CREDIT);
	else if ((unsigned)o->overflow > HLK_REJECT)
		error_fill(error, code = HLK_INVALID_INPUT, "bridge: overflow %u is unknown", (unsigned)o->overflow);
	for (size_t i = 0; code == HLK_OK && i < o->event_count; i++)
		if (strncmp(o->events[i], PARAMS_BROKER, strlen(PARAMS_BROKER)) == 0)
			error_fill(error, code = HLK_INVALID_INPUT, "bridge: %.100s: what a broker says of itself stays there", o->events[i]);
	return code;
}

int hlk_bridge_open(const struct hlk_bridge_options *o, struct hlk_bridge **out, struct hlk_error *error)
{
	*out = NULL;
	if (error)
		*error = (struct hlk_error){ 0 };
	int code = options_check(o, error);
	if (code != HLK_OK)
		return code;
	struct hlk_bridge *b = calloc(1, sizeof *b);
	ENSURE(b != NULL);
	*b = (struct hlk_bridge){ .from = o->from, .to = o->to, .note = o->note, .ctx = o->ctx, .overflow = o->overflow,
				  .where = o->where ? copy(o->where) : NULL };
	for (size_t i = 0; i < o->service_count; i++)
		b->services[b->service_count++] = copy(o->services[i]);
	for (size_t i = o->event_count; i > 0; i--)
		b->feeds = feed_new(b, o->events[i - 1], o->event_credit);
	*out = b;
	return HLK_OK;
}

void hlk_bridge_close(struct hlk_bridge *b)
{
	if (!b)
		return;
	ENSURE(!b->from->in_step && !b->to->in_step); /* not from a callback */
	b->note = NULL;
	passing_end(b);
	stop(b, "");
	feeds_free(b);
	(void)hlk_flush(b->from);
	(void)hlk_flush(b->to);
	for (uint32_t i = 0; i < b->service_count; i++)
		free(b->services[i]);
	free(b->where);
	free(b);
}
