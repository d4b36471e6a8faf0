/* storage/raft_node.h: libraft's state machine behind the guards that make it safe.
 *
 * raft_step() of libraft 0.22.1 is pure: no log, no I/O, no clock. It is also not safe bare; raft_node.c adds the guards,
 * each named there with the defect it answers. The owner feeds events in and carries out what the hooks ask for.
 * Nothing here may be called from inside a hook. Times are monotonic milliseconds. */
#pragma once

#include <raft.h>

#include "../wire/err.h"
#include "../wire/span.h"

/* The guards depend on what this very version does, down to who frees what. */
_Static_assert(RAFT_VERSION_NUMBER == 2201, "raft_node.c is written for libraft 0.22.1 and no other");

struct raft_node;

/* What a step asks for, always in this order. */
struct raft_node_hooks {
	void *ctx;
	/* Both durable before it returns. */
	void (*hard_state)(void *ctx, uint64_t term, uint64_t voted_for);
	/* Append `count` entries from `index` on; what the log had there and after is void. Borrowed until return. When
	 * they are durable: raft_node_persisted. */
	void (*entries)(void *ctx, uint64_t index, const struct raft_entry *entries, unsigned count);
	/* Install this snapshot; then raft_node_installed. The configuration is lent until return. */
	void (*install)(void *ctx, const struct raft_snapshot_metadata *metadata, struct span chunk);
	/* Send; entries and snapshot bytes are to be filled in from the log. Borrowed until return. */
	void (*message)(void *ctx, const struct raft_message *message);
	/* Everything up to index is committed. */
	void (*commit)(void *ctx, uint64_t index);
};

struct raft_node_config {
	uint64_t id;
	const char *address;
	uint32_t election_ms, heartbeat_ms, inflight_max;
	uint32_t seed;
	struct raft_node_hooks hooks;
};

struct raft_node *raft_node_new(const struct raft_node_config *config);
void raft_node_free(struct raft_node *node);

struct raft_node_start {
	uint64_t term, voted_for;
	/* The latest snapshot, 0 where there is none; configuration encoded by raft_configuration_encode. */
	uint64_t snapshot_index, snapshot_term, configuration_index;
	struct span configuration;
	uint64_t start_index;           /* of entries[0] */
	const struct raft_entry *entries; /* lent; bodies are looked at for RAFT_CHANGE only */
	unsigned count;
};
/* Once, first of all. A sole voter takes a new durable term here (hooks.hard_state) and leads when it returns. All functions
 * below return 0 or an error code of raft.h. */
int raft_node_start(struct raft_node *node, uint64_t now_ms, const struct raft_node_start *start) MUST_CHECK;
/* One entry of the leader. The bytes are lent until the entries hook returns. */
int raft_node_submit(struct raft_node *node, uint64_t now_ms, enum raft_entry_type type, struct span bytes) MUST_CHECK;
/* All entries up to index are durable. */
int raft_node_persisted(struct raft_node *node, uint64_t now_ms, uint64_t index) MUST_CHECK;
/* A message from a peer, lent. Malformed ones are dropped. RAFT_SHUTDOWN: our committed log differs from theirs: stop. */
int raft_node_receive(struct raft_node *node, uint64_t now_ms, struct raft_message *message) MUST_CHECK;
/* The timer ran out (raft_node_timeout). */
int raft_node_tick(struct raft_node *node, uint64_t now_ms) MUST_CHECK;
/* A RAFT_CHANGE entry was applied. */
int raft_node_configured(struct raft_node *node, uint64_t now_ms, uint64_t index, struct span configuration) MUST_CHECK;
/* A checkpoint up to index is durable; `trailing` entries before it stay known. */
int raft_node_snapshot(struct raft_node *node, uint64_t now_ms, uint64_t index, uint64_t configuration_index,
		       struct span configuration, unsigned trailing) MUST_CHECK;
/* The snapshot of the install hook is durable and restored. */
int raft_node_installed(struct raft_node *node, uint64_t now_ms, const struct raft_snapshot_metadata *metadata) MUST_CHECK;

/* Membership, one change at a time. A server enters as RAFT_SPARE, gets RAFT_STANDBY, then RAFT_VOTER. */
enum raft_node_change { RAFT_NODE_ADD, RAFT_NODE_ASSIGN, RAFT_NODE_REMOVE };
struct raft_node_member {
	uint64_t id;
	const char *address; /* RAFT_NODE_ADD */
	int role;            /* RAFT_NODE_ASSIGN */
};
/* RAFT_CANTCHANGE: not now (no entry of this term is committed, or another change is under way); RAFT_BADROLE,
 * RAFT_BADID, RAFT_DUPLICATEID: never. */
int raft_node_change(struct raft_node *node, uint64_t now_ms, enum raft_node_change what,
		     const struct raft_node_member *member) MUST_CHECK;

/* When raft_node_tick is due; always later than the last tick. */
uint64_t raft_node_timeout(const struct raft_node *node);
/* True when this node, not being the leader, has become the only voter: close the node and start it again from the log. */
bool raft_node_must_restart(const struct raft_node *node);
bool raft_node_leads(const struct raft_node *node);
uint64_t raft_node_term(const struct raft_node *node);
uint64_t raft_node_commit(const struct raft_node *node);
/* Decodes a configuration from bytes that nobody vouches for; raft_configuration_close it. RAFT_MALFORMED. */
int raft_node_decode_members(struct span bytes, struct raft_configuration *out) MUST_CHECK;
/* For tests and for the transport. */
struct raft *raft_node_raft(struct raft_node *node);
