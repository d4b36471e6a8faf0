/* clientlib/worker_run.c: a whole worker from one function, and how it is told to finish. In the flow: hlk_worker_run -> worker.c ->
 * handler, until it is stopped: by its program, by its count, or by the operator. */
#include "client_impl.h"

void hlk_stop(struct hlk *c)
{
	atomic_store(&c->worker.stop, true);
	hlk_wake(c);
}

bool hlk_stop_asked(const struct hlk *c)
{
	return c->worker.stop_asked;
}

static int final_error(struct hlk *c)
{
	if (c->session.refused_code)
		return error_set(c, c->session.refused_code, "%s", c->session.last_text);
	return c->worker.serve_code; /* its text is set */
}

/* No more tasks; what is in work is finished and acknowledged. A second hlk_stop does not wait. */
static void drain(struct hlk *c, struct entry *e)
{
	int64_t deadline = INT64_MAX;
	atomic_store(&c->worker.stop, false);
	(void)hlk_serve_credit(c, e->id, 0);
	while (!atomic_load(&c->worker.stop) && (e->held > 0 || c->worker.undone > 0 || c->worker.item_count > 0)) {
		if (e->held == 0 && deadline == INT64_MAX)
			deadline = client_deadline(c, c->timeout_ms);
		if (client_wait(c, deadline) != HLK_OK)
			break;
	}
	(void)hlk_unserve(c, e->id);
	client_flush(c);
	atomic_store(&c->worker.stop, false);
}

int hlk_worker_run(struct hlk *c, const struct hlk_serve_options *options, uint64_t count)
{
	uint32_t id;
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = hlk_serve(c, options, &id);
	if (code != HLK_OK)
		return code;
	struct entry *e = worker_entry(c, id);
	e->max = count ? count : UINT64_MAX;
	while (code == HLK_OK && !atomic_load(&c->worker.stop) && !c->worker.stop_asked && (e->taken < e->max || e->held > 0)) {
		code = client_wait(c, INT64_MAX);
		if (code == HLK_OK)
			code = final_error(c);
	}
	struct hlk_error why = c->error;
	drain(c, e);
	if (code != HLK_OK)
		c->error = why;
	return code;
}
