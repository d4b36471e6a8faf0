/* wire/msg_worker.h: what operators say and are told of workers: blocks in REQUEST.spec and REPLY.specs, one worker in REPLY.specs.
 * Included by wire/msg.h. */
#pragma once

struct block_info {
	struct span pattern, reason;
	uint64_t since_ms, until_ms; /* since 1970; until 0 = for ever */
	uint64_t for_ms;             /* where it is asked for; 0 = for ever */
	bool now;
};

struct worker_entry_info { struct wire_entry entry; uint32_t calls, tasks; };
struct worker_lease_info { uint64_t task; uint32_t attempt; struct span queue; bool started; };
struct worker_show {
	struct span name, address, identity, release, vnet;
	uint64_t session, connected_ms;
	bool away, draining, blocked;
	uint32_t entries_total, leased, calls, calls_made;
	uint64_t delivered_total, completed_total, failed_total, returned_total, calls_total;
	/* Encoding: arrays owned by the caller. Decoding: counts only; read items with worker_show_*. */
	const struct worker_entry_info *entries; uint32_t entry_count;
	const struct worker_lease_info *leases; uint32_t lease_count;
	struct span bytes; /* decoding: where the items are */
};

/* Appends the bytes of a BlockInfo, a WorkerShow. */
void block_info_encode(struct buf *out, const struct block_info *info);
void worker_show_encode(struct buf *out, const struct worker_show *show);
/* Verifies and reads them; borrows. Judges lengths. */
enum err block_info_decode(struct span bytes, struct block_info *out, char text[128]) MUST_CHECK;
enum err worker_show_decode(struct span bytes, struct worker_show *out, char text[128]) MUST_CHECK;
/* Items of a decoded one; index is below the count. `texts` has room for LIMIT_SERVE_TEXTS names, which *out borrows. */
void worker_show_entry(const struct worker_show *show, uint32_t index, struct worker_entry_info *out, struct span *texts);
void worker_show_lease(const struct worker_show *show, uint32_t index, struct worker_lease_info *out);
