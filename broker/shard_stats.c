/* broker/shard_stats.c: every figure of a shard by name, for VERB_STATS and for metrics: one list, so that they agree. */
#include "blob_desk.h"
#include "event.h"
#include "memory.h"

struct out {
	struct shard_stat *at;
	uint32_t count, max;
};

static void put(struct out *o, const char *name, double value)
{
	if (o->count < o->max)
		o->at[o->count++] = (struct shard_stat){ name, value };
}

#define PUT(prefix, from, field) put(o, prefix #field, (double)(from).field)

static void put_tls(struct out *o, const struct shard *s)
{
	struct tls_heap_stats heap = { .used = 0 };
	if (s->tls) /* else TLS was not even started */
		tls_heap_get(&heap);
	put(o, "tls_ocsp_stapling", s->tls && tls_ctx_stapling(s->tls) ? 1 : 0);
	put(o, "tls_certificate_expires_seconds", s->tls ? (double)tls_ctx_expires(s->tls) : 0);
	put(o, "tls_memory_bytes", (double)heap.used);
	put(o, "tls_memory_refused_total", (double)heap.refused_total);
}

static void put_blobs(struct out *o, const struct shard *s)
{
	const struct blob_desk *d = s->desk;
	struct blobs_stats b;
	blobs_get_stats(tasks_blobs(s->tasks), &b);
	if (!d)
		return;
	put(o, "blobs", (double)b.blobs);
	put(o, "blob_bytes", (double)b.bytes);
	put(o, "blob_references", (double)b.references);
	put(o, "blobs_unreferenced", (double)b.idle);
	put(o, "blob_uploads", d->upload_count);
	put(o, "blob_reads", d->read_count);
	put(o, "blob_memory_bytes", (double)d->memory);
	put(o, "blob_removals_waiting", d->removal_count);
	put(o, "blob_scrubs_waiting", (double)(d->scrub.numbers.len / sizeof(uint64_t) - d->scrub.at) + (d->scrub.number != 0));
	put(o, "blobs_added_total", (double)b.added_total);
	put(o, "blobs_collected_total", (double)b.collected_total);
	put(o, "blob_uploads_total", (double)d->totals.uploads);
	put(o, "blob_uploads_failed_total", (double)d->totals.upload_failures);
	put(o, "blob_uploaded_bytes_total", (double)d->totals.uploaded_bytes);
	put(o, "blob_reads_total", (double)d->totals.reads);
	put(o, "blob_read_bytes_total", (double)d->totals.read_bytes);
	put(o, "blobs_scrubbed_total", (double)d->totals.scrubbed);
	put(o, "blobs_damaged_total", (double)d->totals.damaged);
	put(o, "blobs_swept_total", (double)d->totals.swept);
	put(o, "blob_removals_failed_total", (double)d->totals.removal_failures);
}

static void put_shard(struct shard *s, struct out *o)
{
	struct shard_counters c;
	shard_counters_get(s, &c);
	PUT("", c, conns);
	PUT("", c, conns_total);
	PUT("", c, conns_refused_total);
	PUT("", c, conns_slowed_total);
	PUT("", c, principal_limits_total);
	put(o, "memory_used_bytes", (double)memory_used(s));
	put(o, "memory_peak_bytes", (double)s->memory.peak);
	put(o, "memory_cap_bytes", (double)s->config.memory_cap);
	put(o, "memory_level", s->memory.level);
	PUT("", c, memory_paused_total);
	PUT("", c, memory_refused_total);
	PUT("", c, door_crowded_total);
	PUT("", c, door_hasty_total);
	PUT("", c, door_evicted_total);
	PUT("", c, logins_failed_total);
	PUT("", c, logins_held_total);
	PUT("", c, sessions);
	PUT("", c, sessions_resumed_total);
	PUT("", c, sessions_lost_total);
	PUT("", c, frames_in_total);
	PUT("", c, bytes_in_total);
	PUT("", c, bytes_out_total);
	PUT("", c, frames_refused_total);
	PUT("", c, handshakes_failed_total);
	PUT("", c, tls_handshakes_total);
	PUT("", c, tls_resumed_total);
	PUT("", c, tls_failed_total);
	PUT("", c, tls_truncated_total);
	PUT("", c, tls_distrusted_total);
	put_tls(o, s);
	put_blobs(o, s);
	PUT("", c, conns_slow_total);
	PUT("", c, conns_silent_total);
	PUT("", c, conns_garbage_total);
	PUT("", c, buffer_bytes);
	PUT("", c, submits_total);
	PUT("", c, submits_refused_total);
	PUT("", c, submits_paused_total);
	PUT("", c, delivered_total);
	PUT("", c, deliver_frames_total);
	PUT("", c, deliver_damaged_total);
	PUT("", c, reports_total);
	PUT("", c, results_total);
	PUT("", c, updates_total);
	PUT("", c, updates_dropped_total);
	PUT("", c, requests_total);
	PUT("", c, watches);
	PUT("", c, consumers);
	PUT("", c, turns_total);
	PUT("", c, entries);
	PUT("", c, calls_open);
	PUT("", c, calls_total);
	PUT("", c, invokes_total);
	PUT("", c, answers_total);
	PUT("", c, answers_late_total);
	PUT("", c, calls_timeout_total);
	PUT("", c, calls_not_delivered_total);
	put(o, "epoch", s->epoch);
	put(o, "time_seconds", (double)s->wall_ms / 1000);
}

static void put_events(struct shard *s, struct out *o)
{
	const struct events *e = s->events;
	put(o, "event_subscriptions", e->subscription_count);
	put(o, "event_bytes", (double)e->batch_bytes);
	put(o, "event_published_total", (double)e->stats.published);
	put(o, "event_nobody_total", (double)e->stats.nobody);
	put(o, "event_duplicates_total", (double)e->stats.duplicates);
	put(o, "event_refused_total", (double)e->stats.refused);
	put(o, "event_blocked_total", (double)e->stats.blocked);
	put(o, "event_matched_total", (double)e->stats.matched);
	put(o, "event_delivered_total", (double)e->stats.delivered);
	put(o, "event_dropped_total", (double)e->stats.dropped);
	put(o, "event_frames_encoded_total", (double)e->stats.frames_encoded);
	put(o, "event_frames_sent_total", (double)e->stats.frames_sent);
}

static void put_tasks(struct shard *s, struct out *o)
{
	struct tasks_stats t;
	tasks_get_stats(s->tasks, &t);
	PUT("tasks_", t, waiting);
	PUT("tasks_", t, leased);
	PUT("tasks_", t, scheduled);
	PUT("tasks_", t, blocked);
	PUT("tasks_", t, groups);
	PUT("tasks_", t, dead);
	PUT("tasks_", t, retained);
	PUT("tasks_", t, producers);
	PUT("tasks_", t, keys);
	PUT("tasks_", t, segments);
	PUT("tasks_", t, submitted_total);
	PUT("tasks_", t, done_total);
	PUT("tasks_", t, failed_total);
	PUT("tasks_", t, duplicates_total);
	PUT("tasks_", t, stale_total);
	PUT("tasks_", t, expired_total);
	PUT("tasks_", t, memory_bytes);
	put(o, "queues", (double)tasks_queue_count(s->tasks));
}

static void put_log(struct shard *s, struct out *o)
{
	struct log_stats l;
	log_get_stats(s->log, &l);
	PUT("log_", l, index);
	PUT("log_", l, term);
	put(o, "log_batches_total", (double)l.batches);
	put(o, "log_records_total", (double)l.records);
	put(o, "log_bytes_appended_total", (double)l.bytes_appended);
	put(o, "log_bytes_written_total", (double)l.bytes_written);
	put(o, "log_syncs_total", (double)l.syncs);
	put(o, "log_sync_seconds_total", (double)l.sync_ns_total / 1e9);
	put(o, "log_sync_seconds_max", (double)l.sync_ns_max / 1e9);
	PUT("log_", l, segments);
	PUT("log_", l, segment_bytes_on_disk);
	PUT("log_", l, disk_free_bytes);
	put(o, "log_checkpoints_total", (double)l.checkpoints);
	PUT("log_", l, checkpoint_bytes);
	PUT("log_", l, cache_bytes);
	put(o, "log_cache_hits_total", (double)l.cache_hits);
	put(o, "log_cache_misses_total", (double)l.cache_misses);
	PUT("log_", l, recovered_entries);
	PUT("log_", l, recovered_ms);
	put(o, "log_full", log_room(s->log) == LOG_ROOM_OK ? 0 : 1);
}

static void put_backend(struct shard *s, struct out *o)
{
	struct blob_backend_stats b;
	if (!s->config.blobs || !s->config.blobs->v->stats)
		return;
	s->config.blobs->v->stats(s->config.blobs, &b);
	PUT("blob_s3_", b, requests_total);
	PUT("blob_s3_", b, retries_total);
	PUT("blob_s3_", b, failed_total);
	PUT("blob_s3_", b, sent_bytes_total);
	PUT("blob_s3_", b, received_bytes_total);
	PUT("blob_s3_", b, memory_bytes);
}

uint32_t shard_stats(struct shard *s, struct shard_stat *out, uint32_t max)
{
	struct out o = { .at = out, .max = max };
	put_shard(s, &o);
	put_events(s, &o);
	put_tasks(s, &o);
	put_log(s, &o);
	put_backend(s, &o);
	if (s->config.process_stats) {
		double cpu_seconds = 0, resident_bytes = 0;
		s->config.process_stats(s->config.ctx, &cpu_seconds, &resident_bytes);
		put(&o, "process_cpu_seconds_total", cpu_seconds);
		put(&o, "process_resident_bytes", resident_bytes);
	}
	return o.count;
}
