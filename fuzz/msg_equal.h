/* fuzz/msg_equal.h: do two messages, each decoded from its own frame, say the same? Shared by the fuzzers and the
 * codec tests. A message that was made for encoding can be compared too, except for REPLY items. */
#pragma once

#include "../wire/msg.h"

static inline bool bytes_equal(const void *a, uint32_t a_count, const void *b, uint32_t b_count, size_t item)
{
	return a_count == b_count && (a_count == 0 || memcmp(a, b, item * a_count) == 0);
}

static inline bool head_equal(const struct task_head *a, const struct task_head *b)
{
	bool same = span_eq(a->type, b->type) && span_eq(a->queue, b->queue) && span_eq(a->key, b->key) &&
		    span_eq(a->trace, b->trace) && span_eq(a->correlation, b->correlation) &&
		    a->fingerprint == b->fingerprint && a->delay_ms == b->delay_ms &&
		    a->expires_ms == b->expires_ms && a->execution_ms == b->execution_ms &&
		    a->retention_ms == b->retention_ms && a->max_attempts == b->max_attempts &&
		    a->priority == b->priority && a->want_result == b->want_result &&
		    a->header_count == b->header_count && a->redelivery == b->redelivery &&
		    a->want_updates == b->want_updates && a->parent == b->parent &&
		    a->heartbeat_ms == b->heartbeat_ms && a->close_ms == b->close_ms && span_eq(a->requirements, b->requirements) &&
		    span_eq(a->order_key, b->order_key) && span_eq(a->hot, b->hot) && span_eq(a->sticky, b->sticky) &&
		    span_eq(a->after, b->after) && span_eq(a->after_back, b->after_back) && a->on_failure == b->on_failure &&
		    span_eq(a->group, b->group) && span_eq(a->after_group, b->after_group) && a->group_size == b->group_size &&
		    a->payload == b->payload &&
		    a->fail_fast == b->fail_fast;
	for (uint32_t i = 0; same && i < a->header_count; i++)
		same = span_eq(a->headers[i].name, b->headers[i].name) &&
		       span_eq(a->headers[i].value, b->headers[i].value);
	return same;
}

static inline bool attempts_equal(const struct task_info *a, const struct task_info *b)
{
	bool same = a->attempt_count == b->attempt_count;
	for (uint32_t i = 0; same && i < a->attempt_count; i++) {
		const struct attempt_info *x = &a->attempts[i], *y = &b->attempts[i];
		same = x->time_ms == y->time_ms && x->attempt == y->attempt && x->app_code == y->app_code &&
		       x->code == y->code && span_eq(x->worker, y->worker) && span_eq(x->text, y->text);
	}
	return same;
}

static inline bool task_info_equal(const struct task_info *a, const struct task_info *b)
{
	return a->task == b->task && a->state == b->state && a->priority == b->priority &&
	       span_eq(a->type, b->type) && span_eq(a->queue, b->queue) && span_eq(a->reason, b->reason) &&
	       span_eq(a->worker, b->worker) && span_eq(a->result, b->result) &&
	       span_eq(a->payload, b->payload) && span_eq(a->key, b->key) &&
	       a->submitted_ms == b->submitted_ms && a->ready_ms == b->ready_ms &&
	       a->expires_ms == b->expires_ms && a->settled_ms == b->settled_ms && a->acquired == b->acquired &&
	       a->failed == b->failed && a->max_attempts == b->max_attempts && a->size == b->size &&
	       a->app_code == b->app_code && a->code == b->code && a->parent == b->parent && a->root == b->root &&
	       a->phase == b->phase && a->progress == b->progress && a->yields == b->yields &&
	       span_eq(a->progress_text, b->progress_text) && attempts_equal(a, b) && a->waits == b->waits &&
	       a->waits_for == b->waits_for && span_eq(a->group, b->group) && span_eq(a->after_group, b->after_group) &&
	       a->payload_kind == b->payload_kind && a->result_kind == b->result_kind;
}

static inline bool queue_info_equal(const struct queue_info *a, const struct queue_info *b)
{
	return span_eq(a->name, b->name) && a->paused == b->paused &&
	       memcmp(&a->settings, &b->settings, sizeof a->settings) == 0 && a->ready == b->ready &&
	       a->leased == b->leased && a->scheduled == b->scheduled && a->dead == b->dead &&
	       a->submitted_total == b->submitted_total && a->done_total == b->done_total &&
	       a->failed_total == b->failed_total && a->expired_total == b->expired_total &&
	       a->cancelled_total == b->cancelled_total && a->dead_total == b->dead_total &&
	       a->workers == b->workers;
}

static inline bool worker_info_equal(const struct worker_info *a, const struct worker_info *b)
{
	bool same = span_eq(a->name, b->name) && span_eq(a->address, b->address) &&
		    a->entry_count == b->entry_count && a->credit == b->credit && a->leased == b->leased &&
		    a->connected_ms == b->connected_ms && a->session == b->session && span_eq(a->vnet, b->vnet) &&
		    a->calls == b->calls && a->away == b->away && a->draining == b->draining;
	for (uint32_t i = 0; same && i < a->entry_count; i++)
		same = span_eq(a->entries[i], b->entries[i]);
	return same;
}

static inline bool reply_items_equal(const struct msg_reply *a, const struct msg_reply *b)
{
	bool same = true;
	for (uint32_t i = 0; same && i < a->task_count; i++) {
		struct task_info x, y;
		msg_reply_task(a, i, &x);
		msg_reply_task(b, i, &y);
		same = task_info_equal(&x, &y);
	}
	for (uint32_t i = 0; same && i < a->queue_count; i++) {
		struct queue_info x, y;
		msg_reply_queue(a, i, &x);
		msg_reply_queue(b, i, &y);
		same = queue_info_equal(&x, &y);
	}
	for (uint32_t i = 0; same && i < a->worker_count; i++) {
		struct worker_info x, y;
		msg_reply_worker(a, i, &x);
		msg_reply_worker(b, i, &y);
		same = worker_info_equal(&x, &y);
	}
	for (uint32_t i = 0; same && i < a->stat_count; i++) {
		struct stat_item x, y;
		msg_reply_stat(a, i, &x);
		msg_reply_stat(b, i, &y);
		same = span_eq(x.name, y.name) && memcmp(&x.value, &y.value, sizeof x.value) == 0;
	}
	for (uint32_t i = 0; same && i < a->spec_count; i++)
		same = span_eq(msg_reply_spec(a, i), msg_reply_spec(b, i));
	for (uint32_t i = 0; same && i < a->topic_count; i++) {
		struct topic_info x, y;
		msg_reply_topic(a, i, &x);
		msg_reply_topic(b, i, &y);
		same = x.kind == y.kind && span_eq(x.queue, y.queue) && span_eq(x.pattern, y.pattern) &&
		       span_eq(x.vnet, y.vnet);
	}
	return same;
}

static inline bool reply_equal(const struct msg_reply *a, const struct msg_reply *b)
{
	return a->code == b->code && span_eq(a->text, b->text) && a->count == b->count && a->next == b->next &&
	       a->task_count == b->task_count && a->queue_count == b->queue_count &&
	       a->worker_count == b->worker_count && a->topic_count == b->topic_count &&
	       a->stat_count == b->stat_count && a->spec_count == b->spec_count &&
	       (!a->meta.data || !b->meta.data || reply_items_equal(a, b));
}

static inline bool welcome_equal(const struct msg_welcome *a, const struct msg_welcome *b)
{
	return a->version == b->version && a->features == b->features && span_eq(a->node, b->node) &&
	       a->epoch == b->epoch && a->resumed == b->resumed && a->heartbeat_ms == b->heartbeat_ms &&
	       a->grace_ms == b->grace_ms && a->payload_max == b->payload_max &&
	       a->frame_payload_max == b->frame_payload_max && a->window_max == b->window_max &&
	       span_eq(a->broker, b->broker) && a->address == b->address && a->blob_above == b->blob_above &&
	       a->blob_max == b->blob_max && a->blob_chunk == b->blob_chunk && a->store == b->store;
}

static inline bool names_equal(const struct span *a, uint32_t a_count, const struct span *b, uint32_t b_count)
{
	bool same = a_count == b_count;
	for (uint32_t i = 0; same && i < a_count; i++)
		same = span_eq(a[i], b[i]);
	return same;
}

static inline bool entry_equal(const struct wire_entry *a, const struct wire_entry *b)
{
	return a->id == b->id && a->by_queue == b->by_queue && a->credit == b->credit && a->capacity == b->capacity &&
	       a->cost == b->cost && span_eq(a->service, b->service) && span_eq(a->params, b->params) &&
	       names_equal(a->vnets, a->vnet_count, b->vnets, b->vnet_count) &&
	       names_equal(a->hot, a->hot_count, b->hot, b->hot_count);
}

static inline bool serve_equal(const struct msg_serve *a, const struct msg_serve *b)
{
	bool same = a->count == b->count;
	for (uint32_t i = 0; same && i < a->count; i++)
		same = entry_equal(&a->entries[i], &b->entries[i]);
	return same;
}

static inline bool changes_equal(const struct msg_changes *a, const struct msg_changes *b)
{
	bool same = a->watch == b->watch && a->begin == b->begin && a->end == b->end && a->before == b->before &&
		    a->revision == b->revision && a->count == b->count;
	for (uint32_t i = 0; same && i < a->count; i++)
		same = a->items[i].kind == b->items[i].kind && a->items[i].session == b->items[i].session &&
		       a->items[i].away == b->items[i].away && a->items[i].busy == b->items[i].busy &&
		       span_eq(a->items[i].client, b->items[i].client) && entry_equal(&a->items[i].entry, &b->items[i].entry);
	return same;
}

static inline bool directory_message_equal(const struct msg *a, const struct msg *b)
{
	if (a->kind == FRAME_WATCH)
		return a->watch.watch == b->watch.watch && a->watch.once == b->watch.once &&
		       span_eq(a->watch.service, b->watch.service) && span_eq(a->watch.where, b->watch.where);
	return a->kind == FRAME_CHANGES ? changes_equal(&a->changes, &b->changes) : a->unwatch.watch == b->unwatch.watch;
}

static inline bool call_message_equal(const struct msg *a, const struct msg *b)
{
	const struct msg_call *c = &a->call, *d = &b->call;
	const struct msg_invoke *i = &a->invoke, *j = &b->invoke;
	if (a->kind == FRAME_CALL)
		return c->first == d->first && c->session == d->session && c->entry == d->entry && c->binding == d->binding &&
		       c->deadline_ms == d->deadline_ms && c->all == d->all && c->stream == d->stream && c->wait == d->wait &&
		       span_eq(c->service, d->service) && span_eq(c->where, d->where) && span_eq(c->head, d->head) &&
		       bytes_equal(c->sizes.at, c->sizes.count, d->sizes.at, d->sizes.count, 4);
	if (a->kind == FRAME_INVOKE)
		return i->entry == j->entry && i->stream == j->stream && i->caller == j->caller && span_eq(i->client, j->client) &&
		       span_eq(i->head, j->head) && bytes_equal(i->items, i->count, j->items, j->count, sizeof *i->items);
	if (a->kind == FRAME_ANSWER)
		return bytes_equal(a->answer.items, a->answer.count, b->answer.items, b->answer.count, sizeof *a->answer.items);
	if (a->kind == FRAME_CALL_CANCEL)
		return bytes_equal(a->call_cancel.calls.at, a->call_cancel.calls.count, b->call_cancel.calls.at,
				   b->call_cancel.calls.count, 8);
	if (a->kind == FRAME_BIND)
		return a->bind.binding == b->bind.binding && a->bind.min == b->bind.min && a->bind.desired == b->bind.desired &&
		       a->bind.waiting == b->bind.waiting && span_eq(a->bind.service, b->bind.service) &&
		       span_eq(a->bind.where, b->bind.where);
	if (a->kind == FRAME_UNBIND)
		return a->unbind.binding == b->unbind.binding;
	return a->binding.binding == b->binding.binding && a->binding.state == b->binding.state &&
	       a->binding.code == b->binding.code && span_eq(a->binding.text, b->binding.text) &&
	       bytes_equal(a->binding.legs, a->binding.leg_count, b->binding.legs, b->binding.leg_count, sizeof *a->binding.legs);
}

static inline bool request_equal(const struct msg_request *a, const struct msg_request *b)
{
	return a->verb == b->verb && span_eq(a->name, b->name) &&
	       bytes_equal(a->tasks.at, a->tasks.count, b->tasks.at, b->tasks.count, 8) && a->state == b->state &&
	       a->cursor == b->cursor && a->limit == b->limit && a->rate == b->rate &&
	       memcmp(&a->settings, &b->settings, sizeof a->settings) == 0 && span_eq(a->text, b->text) &&
	       span_eq(a->type, b->type) && a->code == b->code && a->tree == b->tree && span_eq(a->spec, b->spec) &&
	       a->session == b->session;
}

/* The crc of a message is computed by the encoder, so it is left out. */
static inline bool submit_equal(const struct msg_submit *a, const struct msg_submit *b)
{
	return a->producer == b->producer && a->first_seq == b->first_seq &&
	       a->resolved_below == b->resolved_below && a->confirm == b->confirm && span_eq(a->head, b->head) &&
	       bytes_equal(a->sizes.at, a->sizes.count, b->sizes.at, b->sizes.count, 4);
}

static inline bool deliver_equal(const struct msg_deliver *a, const struct msg_deliver *b)
{
	return a->entry == b->entry && a->epoch == b->epoch && a->lease_ms == b->lease_ms &&
	       span_eq(a->head, b->head) && span_eq(a->queue, b->queue) &&
	       bytes_equal(a->items, a->count, b->items, b->count, sizeof *a->items) &&
	       bytes_equal(a->yields, a->yield_count, b->yields, b->yield_count, sizeof *a->yields);
}

static inline bool hello_equal(const struct msg_hello *a, const struct msg_hello *b)
{
	return bytes_equal(a->versions, a->version_count, b->versions, b->version_count, 2) &&
	       a->features == b->features && memcmp(a->session, b->session, sizeof a->session) == 0 &&
	       span_eq(a->client, b->client) && span_eq(a->token, b->token) && a->resume == b->resume &&
	       span_eq(a->vnet, b->vnet) && span_eq(a->identity, b->identity) && a->force == b->force &&
	       span_eq(a->release, b->release);
}

static inline bool events_equal(const struct msg_events *a, const struct msg_events *b)
{
	return a->id.hi == b->id.hi && a->id.lo == b->id.lo && a->origin == b->origin && a->retained == b->retained &&
	       span_eq(a->head, b->head) && bytes_equal(a->sizes.at, a->sizes.count, b->sizes.at, b->sizes.count, 4) &&
	       a->matched == b->matched && a->delivered == b->delivered && a->dropped == b->dropped;
}

static inline bool publish_equal(const struct msg_publish *a, const struct msg_publish *b)
{
	return a->number == b->number && a->id.hi == b->id.hi && a->id.lo == b->id.lo && a->origin == b->origin &&
	       a->retain == b->retain && a->confirm == b->confirm && a->elsewhere == b->elsewhere &&
	       a->interest == b->interest && span_eq(a->head, b->head) &&
	       bytes_equal(a->sizes.at, a->sizes.count, b->sizes.at, b->sizes.count, 4);
}

static inline bool subscribe_equal(const struct msg_subscribe *a, const struct msg_subscribe *b)
{
	return a->subscription == b->subscription && a->credit == b->credit && a->queue_max == b->queue_max &&
	       a->queue_bytes == b->queue_bytes && a->fingerprint == b->fingerprint && span_eq(a->pattern, b->pattern) &&
	       a->overflow == b->overflow && a->descendants == b->descendants && a->unlimited == b->unlimited &&
	       a->retained == b->retained;
}

static inline bool event_message_equal(const struct msg *a, const struct msg *b)
{
	if (a->kind == FRAME_SUBSCRIBE)
		return subscribe_equal(&a->subscribe, &b->subscribe);
	if (a->kind == FRAME_SUBSCRIBED)
		return a->subscribed.subscription == b->subscribed.subscription &&
		       a->subscribed.code == b->subscribed.code && a->subscribed.resumed == b->subscribed.resumed &&
		       a->subscribed.ended == b->subscribed.ended && a->subscribed.matched == b->subscribed.matched &&
		       a->subscribed.delivered == b->subscribed.delivered &&
		       a->subscribed.dropped == b->subscribed.dropped && span_eq(a->subscribed.text, b->subscribed.text);
	if (a->kind == FRAME_UNSUBSCRIBE)
		return a->unsubscribe.subscription == b->unsubscribe.subscription;
	if (a->kind == FRAME_PUBLISH)
		return publish_equal(&a->publish, &b->publish);
	if (a->kind == FRAME_PUBLISHED)
		return span_eq(a->published.text, b->published.text) &&
		       bytes_equal(a->published.items, a->published.count, b->published.items, b->published.count,
				   sizeof *a->published.items);
	if (a->kind == FRAME_EVENTS)
		return events_equal(&a->events, &b->events);
	if (a->kind == FRAME_EVENT_CREDIT)
		return bytes_equal(a->event_credit.items, a->event_credit.count, b->event_credit.items,
				   b->event_credit.count, sizeof *a->event_credit.items);
	return span_eq(a->interest.type, b->interest.type) && a->interest.wanted == b->interest.wanted &&
	       a->interest.query == b->interest.query && a->interest.ttl_ms == b->interest.ttl_ms &&
	       a->interest.number == b->interest.number;
}

static inline bool blob_message_equal(const struct msg *a, const struct msg *b)
{
	const struct msg_blob_put *p = &a->blob_put, *q = &b->blob_put;
	const struct msg_blob_state *s = &a->blob_state, *t = &b->blob_state;
	const struct msg_blob_get *g = &a->blob_get, *h = &b->blob_get;
	const struct msg_blob_data *d = &a->blob_data, *e = &b->blob_data;
	if (a->kind == FRAME_BLOB_PUT)
		return p->upload == q->upload && p->size == q->size && span_eq(p->digest, q->digest) &&
		       span_eq(p->media_type, q->media_type) && p->number == q->number && p->direct == q->direct;
	if (a->kind == FRAME_BLOB_STATE)
		return s->upload == t->upload && s->code == t->code && span_eq(s->text, t->text) && s->number == t->number &&
		       s->offset == t->offset && s->credit == t->credit && s->stored == t->stored && span_eq(s->digest, t->digest) &&
		       s->size == t->size && span_eq(s->url, t->url) && s->retry_after_ms == t->retry_after_ms;
	if (a->kind == FRAME_BLOB_CHUNK)
		return a->blob_chunk.upload == b->blob_chunk.upload && a->blob_chunk.offset == b->blob_chunk.offset &&
		       a->blob_chunk.size == b->blob_chunk.size;
	if (a->kind == FRAME_BLOB_END)
		return a->blob_end.upload == b->blob_end.upload && span_eq(a->blob_end.digest, b->blob_end.digest) &&
		       a->blob_end.size == b->blob_end.size && a->blob_end.abandon == b->blob_end.abandon;
	if (a->kind == FRAME_BLOB_GET)
		return g->read == h->read && span_eq(g->digest, h->digest) && g->offset == h->offset && g->length == h->length &&
		       g->credit == h->credit && g->direct == h->direct;
	if (a->kind == FRAME_BLOB_DATA)
		return d->read == e->read && d->offset == e->offset && d->size == e->size && d->code == e->code &&
		       span_eq(d->text, e->text) && d->total == e->total && d->end == e->end &&
		       span_eq(d->media_type, e->media_type) && span_eq(d->url, e->url);
	return a->blob_more.read == b->blob_more.read && a->blob_more.credit == b->blob_more.credit &&
	       a->blob_more.cancel == b->blob_more.cancel && a->blob_more.damaged == b->blob_more.damaged;
}

static inline bool msg_equal(const struct msg *a, const struct msg *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case FRAME_HELLO: return hello_equal(&a->hello, &b->hello);
	case FRAME_WELCOME: return welcome_equal(&a->welcome, &b->welcome);
	case FRAME_ERROR:
		return a->error.code == b->error.code && span_eq(a->error.text, b->error.text) &&
		       a->error.kind == b->error.kind && a->error.fatal == b->error.fatal &&
		       a->error.retry_after_ms == b->error.retry_after_ms;
	case FRAME_PING:
	case FRAME_PONG: return a->ping.echo == b->ping.echo;
	case FRAME_GOODBYE:
		return a->goodbye.code == b->goodbye.code && span_eq(a->goodbye.text, b->goodbye.text) &&
		       a->goodbye.retry_after_ms == b->goodbye.retry_after_ms;
	case FRAME_SUBMIT: return submit_equal(&a->submit, &b->submit);
	case FRAME_CONFIRMS:
		return a->confirms.producer == b->confirms.producer && span_eq(a->confirms.text, b->confirms.text) &&
		       bytes_equal(a->confirms.runs, a->confirms.run_count, b->confirms.runs,
				   b->confirms.run_count, sizeof *a->confirms.runs);
	case FRAME_AWAIT:
	case FRAME_FORGET:
		return bytes_equal(a->tasks.tasks.at, a->tasks.tasks.count, b->tasks.tasks.at,
				   b->tasks.tasks.count, 8) && a->tasks.want_updates == b->tasks.want_updates &&
		       bytes_equal(a->tasks.from_yield.at, a->tasks.from_yield.count, b->tasks.from_yield.at,
				   b->tasks.from_yield.count, 4);
	case FRAME_RESULTS:
		return bytes_equal(a->results.items, a->results.count, b->results.items, b->results.count,
				   sizeof *a->results.items) &&
		       bytes_equal(a->results.kinds, a->results.kind_count, b->results.kinds, b->results.kind_count, 1);
	case FRAME_UPDATES:
		return bytes_equal(a->updates.items, a->updates.count, b->updates.items, b->updates.count,
				   sizeof *a->updates.items);
	case FRAME_SERVE: return serve_equal(&a->serve, &b->serve);
	case FRAME_CREDIT:
		return bytes_equal(a->credit.items, a->credit.count, b->credit.items, b->credit.count,
				   sizeof *a->credit.items);
	case FRAME_DELIVER: return deliver_equal(&a->deliver, &b->deliver);
	case FRAME_REPORT:
		return bytes_equal(a->report.items, a->report.count, b->report.items, b->report.count,
				   sizeof *a->report.items);
	case FRAME_REPORTED:
		return span_eq(a->reported.text, b->reported.text) &&
		       bytes_equal(a->reported.items, a->reported.count, b->reported.items, b->reported.count,
				   sizeof *a->reported.items);
	case FRAME_SIGNALS:
		return span_eq(a->signals.text, b->signals.text) &&
		       bytes_equal(a->signals.items, a->signals.count, b->signals.items, b->signals.count,
				   sizeof *a->signals.items);
	case FRAME_REQUEST: return request_equal(&a->request, &b->request);
	case FRAME_REPLY: return reply_equal(&a->reply, &b->reply);
	case FRAME_SUBSCRIBE:
	case FRAME_SUBSCRIBED:
	case FRAME_UNSUBSCRIBE:
	case FRAME_PUBLISH:
	case FRAME_PUBLISHED:
	case FRAME_EVENTS:
	case FRAME_EVENT_CREDIT:
	case FRAME_INTEREST: return event_message_equal(a, b);
	case FRAME_WATCH:
	case FRAME_UNWATCH:
	case FRAME_CHANGES: return directory_message_equal(a, b);
	case FRAME_CALL:
	case FRAME_ANSWER:
	case FRAME_INVOKE:
	case FRAME_CALL_CANCEL:
	case FRAME_BIND:
	case FRAME_BINDING:
	case FRAME_UNBIND: return call_message_equal(a, b);
	case FRAME_BLOB_PUT:
	case FRAME_BLOB_STATE:
	case FRAME_BLOB_CHUNK:
	case FRAME_BLOB_END:
	case FRAME_BLOB_GET:
	case FRAME_BLOB_DATA:
	case FRAME_BLOB_MORE: return blob_message_equal(a, b);
	}
	return false;
}
