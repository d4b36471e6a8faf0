// wire/codec_admin.cc: REQUEST and REPLY: questions and administration.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

static_assert(int(hw::Verb_MAX) == int(VERB_LAST), "the same values");
static_assert(int(hw::Verb_QueueWeigh) == int(VERB_QUEUE_WEIGH), "the same values");
static_assert(int(hw::Verb_WorkerKick) == int(VERB_WORKER_KICK), "the same values");

static struct queue_settings settings_of(const hw::QueueSettings *s)
{
	struct queue_settings out = { QUEUE_SETTINGS(QUEUE_SETTING_UNSET) };
	if (s) {
#define READ_SETTING(name, initial) out.name = s->name();
		QUEUE_SETTINGS(READ_SETTING)
#undef READ_SETTING
	}
	return out;
}

static enum err read(const hw::Request *m, struct msg_request *out, char text[128])
{
	out->verb = static_cast<uint16_t>(m->verb());
	out->name = text_of(m->name());
	out->state = static_cast<uint8_t>(m->state());
	out->cursor = m->cursor();
	out->limit = m->limit();
	out->rate = m->rate();
	out->settings = settings_of(m->settings());
	out->text = text_of(m->text());
	out->type = text_of(m->type());
	out->code = m->code();
	out->tree = m->tree();
	out->spec = bytes_of(m->spec());
	out->session = m->session();
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("REQUEST.tasks", text);
}

static enum err read(const hw::Reply *m, struct msg_reply *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->retry_after_ms = m->retry_after_ms();
	out->count = m->count();
	out->next = m->next();
	out->tasks = nullptr;
	out->task_count = m->tasks() ? m->tasks()->size() : 0;
	out->queues = nullptr;
	out->queue_count = m->queues() ? m->queues()->size() : 0;
	out->topics = nullptr;
	out->topic_count = m->topics() ? m->topics()->size() : 0;
	out->workers = nullptr;
	out->worker_count = m->workers() ? m->workers()->size() : 0;
	out->specs = nullptr;
	out->spec_count = m->specs() ? m->specs()->size() : 0;
	out->stats = nullptr;
	out->stat_count = m->stats() ? m->stats()->size() : 0;
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_REQUEST: return verify_and_read<hw::Request>(meta, name, &out->request, text, read);
	case FRAME_REPLY:
		out->reply.meta = meta;
		return verify_and_read<hw::Reply>(meta, name, &out->reply, text, read);
	default: return unknown_kind(kind, text);
	}
}

// ---------------------------------------------------------------- the items of a Reply

static const hw::Reply *reply_of(const struct msg_reply *reply)
{
	ENSURE(reply->meta.data != nullptr);
	return fb::GetRoot<hw::Reply>(reply->meta.data);
}

extern "C" void msg_reply_task(const struct msg_reply *reply, uint32_t index, struct task_info *out)
{
	ENSURE(index < reply->task_count);
	const hw::TaskInfo *t = reply_of(reply)->tasks()->Get(index);
	out->task = t->task();
	out->state = static_cast<uint8_t>(t->state());
	out->priority = t->priority();
	out->type = text_of(t->type());
	out->queue = text_of(t->queue());
	out->reason = text_of(t->reason());
	out->worker = text_of(t->worker());
	out->result = bytes_of(t->result());
	out->payload = bytes_of(t->payload());
	out->key = text_of(t->key());
	out->submitted_ms = t->submitted_ms();
	out->ready_ms = t->ready_ms();
	out->expires_ms = t->expires_ms();
	out->settled_ms = t->settled_ms();
	out->acquired = t->acquired();
	out->failed = t->failed();
	out->max_attempts = t->max_attempts();
	out->size = t->size();
	out->app_code = t->app_code();
	out->code = t->code();
	out->parent = t->parent();
	out->root = t->root();
	out->phase = static_cast<uint8_t>(t->phase());
	out->progress = t->progress();
	out->progress_text = text_of(t->progress_text());
	out->yields = t->yields();
	out->waits = t->waits();
	out->waits_for = t->waits_for();
	out->group = text_of(t->group());
	out->after_group = text_of(t->after_group());
	out->payload_kind = static_cast<uint8_t>(t->payload_kind());
	out->result_kind = static_cast<uint8_t>(t->result_kind());
	uint32_t count = t->attempts() ? t->attempts()->size() : 0;
	out->attempt_count = MIN_OF(count, (uint32_t)COUNT_OF(out->attempts));
	for (uint32_t i = 0; i < out->attempt_count; i++) {
		const hw::AttemptInfo *a = t->attempts()->Get(i);
		out->attempts[i] = { a->time_ms(), a->attempt(), a->app_code(), a->code(), text_of(a->worker()),
				     text_of(a->text()) };
	}
}

extern "C" void msg_reply_queue(const struct msg_reply *reply, uint32_t index, struct queue_info *out)
{
	ENSURE(index < reply->queue_count);
	const hw::QueueInfo *q = reply_of(reply)->queues()->Get(index);
	out->name = text_of(q->name());
	out->paused = q->paused();
	out->settings = settings_of(q->settings());
	out->ready = q->ready();
	out->leased = q->leased();
	out->scheduled = q->scheduled();
	out->dead = q->dead();
	out->submitted_total = q->submitted_total();
	out->done_total = q->done_total();
	out->failed_total = q->failed_total();
	out->weights = text_of(q->weights());
	out->expired_total = q->expired_total();
	out->cancelled_total = q->cancelled_total();
	out->dead_total = q->dead_total();
	out->workers = q->workers();
	out->blocked = q->blocked();
}

extern "C" void msg_reply_topic(const struct msg_reply *reply, uint32_t index, struct topic_info *out)
{
	ENSURE(index < reply->topic_count);
	const hw::TopicInfo *t = reply_of(reply)->topics()->Get(index);
	out->kind = static_cast<uint8_t>(t->kind());
	out->queue = text_of(t->queue());
	out->pattern = text_of(t->pattern());
	out->vnet = text_of(t->vnet());
}

extern "C" void msg_reply_worker(const struct msg_reply *reply, uint32_t index, struct worker_info *out)
{
	ENSURE(index < reply->worker_count);
	const hw::WorkerInfo *w = reply_of(reply)->workers()->Get(index);
	out->name = text_of(w->name());
	out->address = text_of(w->address());
	uint32_t count = w->entries() ? w->entries()->size() : 0;
	out->entry_count = MIN_OF(count, (uint32_t)COUNT_OF(out->entries));
	for (uint32_t i = 0; i < out->entry_count; i++)
		out->entries[i] = text_of(w->entries()->Get(i));
	out->credit = w->credit();
	out->leased = w->leased();
	out->connected_ms = w->connected_ms();
	out->session = w->session();
	out->vnet = text_of(w->vnet());
	out->calls = w->calls();
	out->away = w->away();
	out->draining = w->draining();
}

extern "C" void msg_reply_stat(const struct msg_reply *reply, uint32_t index, struct stat_item *out)
{
	ENSURE(index < reply->stat_count);
	const hw::Stat *s = reply_of(reply)->stats()->Get(index);
	out->name = text_of(s->name());
	out->value = s->value();
}

extern "C" struct span msg_reply_spec(const struct msg_reply *reply, uint32_t index)
{
	ENSURE(index < reply->spec_count);
	return bytes_of(reply_of(reply)->specs()->Get(index)->bytes());
}

// ---------------------------------------------------------------- writing

// A FlatBuffer inside: its own words keep their alignment.
static fb::Offset<fb::Vector<uint8_t>> put_nested(builder &b, struct span s)
{
	if (s.len > 0)
		b.ForceVectorAlignment(s.len, 1, 8);
	return put_bytes(b, s);
}

static fb::Offset<hw::Spec> put(builder &b, const struct span *spec)
{
	ENSURE(spec->len > 0);
	auto bytes = put_nested(b, *spec);
	return hw::CreateSpec(b, bytes);
}


/* A setting as the integer type that the schema has for it. */
struct setting {
	int64_t value;
	template <typename T> operator T() const
	{
		ENSURE(static_cast<int64_t>(static_cast<T>(value)) == value);
		return static_cast<T>(value);
	}
};

static fb::Offset<hw::QueueSettings> put_settings(builder &b, const struct queue_settings *s)
{
#define PUT_SETTING(name, initial) , setting{s->name}
	return hw::CreateQueueSettings(b QUEUE_SETTINGS(PUT_SETTING));
#undef PUT_SETTING
}

static void write(builder &b, const struct msg_request *m)
{
	auto name = put_text(b, m->name);
	fb::Offset<fb::Vector<uint64_t>> tasks;
	if (m->tasks.count > 0)
		tasks = put_u64s(b, m->tasks);
	auto settings = put_settings(b, &m->settings);
	auto text = put_text(b, m->text);
	auto type = put_text(b, m->type);
	auto spec = put_nested(b, m->spec);
	b.Finish(hw::CreateRequest(b, static_cast<hw::Verb>(m->verb), name, tasks,
				   static_cast<hw::TaskState>(m->state), m->cursor, m->limit, m->rate, settings,
				   text, type, m->code, m->tree, spec, m->session));
}

static fb::Offset<hw::AttemptInfo> put(builder &b, const struct attempt_info *a)
{
	auto worker = put_text(b, a->worker);
	auto text = put_text(b, a->text);
	return hw::CreateAttemptInfo(b, a->attempt, a->time_ms, a->code, a->app_code, worker, text);
}

static fb::Offset<hw::TaskInfo> put(builder &b, const struct task_info *t)
{
	ENSURE(t->attempt_count <= COUNT_OF(t->attempts));
	auto attempts = put_all<hw::AttemptInfo>(b, t->attempts, t->attempt_count, put);
	auto progress_text = put_text(b, t->progress_text);
	auto type = put_text(b, t->type);
	auto queue = put_text(b, t->queue);
	auto reason = put_text(b, t->reason);
	auto worker = put_text(b, t->worker);
	auto result = put_bytes(b, t->result);
	auto payload = put_bytes(b, t->payload);
	auto key = put_text(b, t->key);
	auto group = put_text(b, t->group);
	auto after_group = put_text(b, t->after_group);
	return hw::CreateTaskInfo(b, t->task, static_cast<hw::TaskState>(t->state), type, queue, t->priority,
				  t->submitted_ms, t->ready_ms, t->expires_ms, t->settled_ms, t->acquired, t->failed,
				  t->max_attempts, t->size, t->code, t->app_code, reason, worker, result, payload,
				  key, t->parent, t->root, static_cast<hw::Phase>(t->phase), t->progress, progress_text,
				  t->yields, attempts, t->waits, t->waits_for, group, after_group,
				  static_cast<hw::PayloadKind>(t->payload_kind), static_cast<hw::PayloadKind>(t->result_kind));
}

static fb::Offset<hw::QueueInfo> put(builder &b, const struct queue_info *q)
{
	auto name = put_text(b, q->name);
	auto settings = put_settings(b, &q->settings);
	auto weights = put_text(b, q->weights);
	return hw::CreateQueueInfo(b, name, q->paused, settings, q->ready, q->leased, q->scheduled, q->dead,
				   q->submitted_total, q->done_total, q->failed_total, q->expired_total,
				   q->cancelled_total, q->dead_total, q->workers, q->blocked, weights);
}

static fb::Offset<hw::WorkerInfo> put(builder &b, const struct worker_info *w)
{
	ENSURE(w->entry_count <= COUNT_OF(w->entries));
	text_at services[COUNT_OF(w->entries)];
	for (uint32_t i = 0; i < w->entry_count; i++)
		services[i] = put_name(b, w->entries[i]);
	auto name = put_text(b, w->name);
	auto address = put_text(b, w->address);
	auto entries = b.CreateVector(services, w->entry_count);
	auto vnet = put_text(b, w->vnet);
	return hw::CreateWorkerInfo(b, name, address, entries, w->credit, w->leased, w->connected_ms, w->session, vnet,
				    w->calls, w->away, w->draining);
}

static fb::Offset<hw::Stat> put(builder &b, const struct stat_item *s)
{
	auto name = put_name(b, s->name);
	return hw::CreateStat(b, name, s->value);
}

static fb::Offset<hw::TopicInfo> put(builder &b, const struct topic_info *t)
{
	auto queue = put_text(b, t->queue);
	auto pattern = put_text(b, t->pattern);
	auto vnet = put_text(b, t->vnet);
	return hw::CreateTopicInfo(b, static_cast<hw::TopicKind>(t->kind), queue, pattern, vnet);
}

static void write(builder &b, const struct msg_reply *m)
{
	// A queue is two tables. More than this and the receiver's Verifier would refuse the Reply.
	uint64_t attempts = 0;
	for (uint32_t i = 0; i < m->task_count; i++)
		attempts += m->tasks[i].attempt_count;
	ENSURE(1 + attempts + m->task_count + 2 * (uint64_t)m->queue_count + m->worker_count + m->stat_count +
			m->spec_count + m->topic_count <=
	       LIMIT_FB_TABLES);
	auto text = put_text(b, m->text);
	auto tasks = put_all<hw::TaskInfo>(b, m->tasks, m->task_count, put);
	auto queues = put_all<hw::QueueInfo>(b, m->queues, m->queue_count, put);
	auto workers = put_all<hw::WorkerInfo>(b, m->workers, m->worker_count, put);
	auto stats = put_all<hw::Stat>(b, m->stats, m->stat_count, put);
	auto topics = put_all<hw::TopicInfo>(b, m->topics, m->topic_count, put);
	auto specs = put_all<hw::Spec>(b, m->specs, m->spec_count, put);
	b.Finish(hw::CreateReply(b, m->code, text, m->count, m->next, tasks, queues, workers, stats, specs, topics,
				   m->retry_after_ms));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_REQUEST: write(b, &m->request); break;
	case FRAME_REPLY: write(b, &m->reply); break;
	default: ENSURE(false); break;
	}
}

const struct codec_area codec_admin = { read_kind, write_kind };
