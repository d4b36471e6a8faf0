/* broker/secret.c: the key of the hashes by which the store names lanes and ordering keys.
 *
 *   start -> SECRET propose -> log ... commit -> apply;   submit, replay -> secret_hash
 *
 * A client chooses requirements and ordering keys. With a key that it does not know it cannot choose them to collide with those of another
 * client, which would be refused, or would wait for tasks that are not its own. The secret is a record, the first of a new store, and in
 * every checkpoint: replay and replicas hash as the first leader did.
 *
 * Invariants
 *  1. It is set once. Two hashes of one text that are compared were made with the same key: a store from before there was a secret gets
 *     one at a start at which no task with such a name waits.
 *  2. It leaves the process in the log and in checkpoints only; no dump and no answer shows it. */
#include "tasks_impl.h"

struct rec_secret {
	uint8_t version, pad[7];
	struct hash_key key;
};
_Static_assert(sizeof(struct rec_secret) == 24, "on disk");

uint64_t secret_hash(const struct tasks *t, struct span bytes, uint64_t domain, uint32_t queue)
{
	if (!t->secret_next.set)
		return bytes_hash_open(bytes, domain + queue);
	return bytes_hash_keyed(bytes, &t->secret_next.key, domain ^ (uint64_t)queue << 48);
}

static bool names_live(const struct tasks *t)
{
	for (uint32_t i = 0; i < t->segment_count; i++) {
		const struct segment *s = t->segments[i];
		for (uint32_t e = 0; e < s->extra_count; e++)
			for (uint32_t k = 0; k < s->extras[e].count; k++)
				if (segment_is_live(s, s->extras[e].first + k))
					return true;
	}
	return false;
}

bool tasks_propose_secret(struct tasks *t, struct log *log, const uint8_t random[16])
{
	ENSURE(t->begun);
	if (t->secret.set || names_live(t))
		return true;
	struct rec_secret rec = { .version = REC_VERSION };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_SECRET, sizeof rec, &addr);
	if (!body)
		return false;
	memcpy(&rec.key, random, sizeof rec.key);
	memcpy(body, &rec, sizeof rec);
	t->secret_next = (struct secret){ rec.key, true };
	return true;
}

void apply_secret(struct tasks *t, const struct log_record *record)
{
	struct rec_secret rec = { .version = 0 };
	ENSURE(record->body.len >= sizeof rec);
	memcpy(&rec, record->body.data, sizeof rec);
	ENSURE(rec.version == REC_VERSION);
	if (!t->secret.set)
		t->secret = (struct secret){ rec.key, true };
	t->secret_next = t->secret;
}
