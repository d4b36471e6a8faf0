/* tests/sim/io_sim.h: a simulated world: virtual time, one seed, a network, and disks that lose what was
 * not synced. It implements struct io (storage/io.h) for nodes; test clients live on the other side of the
 * network as peers. One thread, no kernel calls: the same seed and the same calls give the same run.
 *
 *	struct sim *w = sim_new(seed);
 *	struct io *io = sim_node_io(w, 0);
 *	... open the node on io (it listens on any url), sim_dial() clients, sim_after() timers ...
 *	while (!done)
 *		node_turn();                     // calls io_reap: that is what runs the world
 *	sim_crash(w, 0, SIM_CRASH_SEEDED);       // from a timer or callback too; see sim_dead()
 *	sim_bury(w, 0); ... free the node's memory, io->v->free(io) ...
 *	io = sim_restart(w, 0);                  // a new process over what is left of the disk
 *	...
 *	sim_free(w);
 *
 * io_reap(io, deadline) executes events in order of virtual time (peers' callbacks, timers, disk) until a
 * callback of this node ran, its deadline is reached, or it is woken. Idle time is skipped, never waited for.
 * Node and peer callbacks never run inside a call that caused them. */
#pragma once

#include "../../storage/io.h"

struct sim;
struct sim_peer;

enum { SIM_NODES_MAX = 8 };

#define SIM_US 1000ull
#define SIM_MS 1000000ull
#define SIM_S 1000000000ull

/* ---- the world ---- */

struct sim *sim_new(uint64_t seed);
/* Frees everything that is left: dead ios, disks, peers. A live node must have been freed before. */
void sim_free(struct sim *w);
uint64_t sim_now_ns(const struct sim *w);
/* Random numbers of the test itself: a stream of its own, so that drawing them does not change the world. */
uint64_t sim_rand(struct sim *w);
uint64_t sim_rand_below(struct sim *w, uint64_t bound);
/* Calls fn(ctx) once, in `ns` from now. May be called from anywhere, fn may do anything but reap. */
void sim_after(struct sim *w, uint64_t ns, void (*fn)(void *ctx), void *ctx);
/* Executes events until `ns` have passed (also those of nodes that wait for nothing: their completions are kept
 * until they reap). For worlds whose node is dead or whose test drives the clock itself. */
void sim_run_for(struct sim *w, uint64_t ns);
/* The next event only; false where there is none. */
bool sim_step(struct sim *w);
/* Makes wall_ms of all nodes jump by this many milliseconds (may be negative). */
void sim_wall_jump(struct sim *w, int64_t ms);

/* Several nodes in one thread: stepped mode. io_reap then never moves time: it runs what is due for its node,
 * remembers the deadline and returns. The driver: while (sim_step(w)) for each node: if (sim_node_due(w, n))
 * node_turn(n). sim_step also stops at a node's remembered deadline. */
void sim_stepped(struct sim *w, bool on);
bool sim_node_due(struct sim *w, int node);

/* ---- determinism ---- */

/* Over all calls, completions, bytes and times so far. */
uint64_t sim_trace_hash(const struct sim *w);
/* Prints every call and completion as a line from now on; NULL = off. */
void sim_trace_to(struct sim *w, FILE *out);

/* ---- nodes ---- */

/* Starts a process on this node (0 .. SIM_NODES_MAX-1) over its disk; it must not run already. */
struct io *sim_node_io(struct sim *w, int node);

enum sim_crash_pattern {
	SIM_CRASH_SEEDED,     /* each unsynced sector of 512 B on its own: kept, dropped, zeros, stale or garbage; each
	                       * unsynced directory operation and size on its own */
	SIM_CRASH_KEEP_ALL,   /* everything reached the platter, synced or not */
	SIM_CRASH_DROP_ALL,   /* only what was synced */
	SIM_CRASH_PREFIX,     /* of each file's unsynced sectors the first half by offset is kept, the rest dropped */
	SIM_CRASH_SUFFIX,     /* the last half is kept */
	SIM_CRASH_EVEN,       /* every second one is kept, so every 4 KiB write tears */
	SIM_CRASH_ODD,        /* the others are kept */
	SIM_CRASH_ZEROS,      /* sizes are kept, the data are zeros */
	SIM_CRASH_STALE,      /* sizes are kept, the data are what deleted or overwritten blocks held */
	SIM_CRASH_GARBAGE,    /* sizes are kept, the data are random */
	SIM_CRASH_TEAR_FIRST, /* kept but for the first sector of each file's unsynced data (the header is lost) */
	SIM_CRASH_TEAR_LAST,  /* kept but for the last one */
	SIM_CRASH_DATA_ONLY,  /* data and sizes kept, all unsynced directory operations dropped */
	SIM_CRASH_NAMES_ONLY, /* directory operations kept, all unsynced data and sizes dropped */
	SIM_KILL,             /* kill -9: the process dies, the kernel lives: nothing is lost, unsynced stays unsynced */
	SIM_CRASH_PATTERNS,
};
const char *sim_crash_name(enum sim_crash_pattern pattern);

/* The node is gone from this instant. Writes in flight take part as unsynced; operations in flight never
 * complete, their buffers are not touched again; connections are reset. The io stays valid memory: calls on it
 * have no effect (-EIO); a reap on it does what sim_bury does and returns 0 at once, so no code waits for ever. */
void sim_crash(struct sim *w, int node, enum sim_crash_pattern pattern);
/* True from sim_crash until sim_restart. Look at it after each turn when timers may crash the node. */
bool sim_dead(const struct sim *w, int node);
/* For a clean teardown of the dead process's memory: completes its operations in flight with -ECANCELED (without
 * touching buffers) and gives `closed` for its connections, now. Then the owner may free itself and the io. */
void sim_bury(struct sim *w, int node);
/* Starts a new process on the crashed (or cleanly freed) node. A dead io that nobody freed is freed by sim_free. */
struct io *sim_restart(struct sim *w, int node);

/* ---- faults of calls ---- */

enum sim_call {
	SIM_OPEN, SIM_SIZE, SIM_ALLOCATE, SIM_TRUNCATE, SIM_RENAME, SIM_UNLINK, SIM_SYNC_DIR, SIM_LIST,
	SIM_FREE_BYTES, SIM_LOCK, SIM_LISTEN, SIM_READ, SIM_WRITE, SIM_SYNC, SIM_SEND, SIM_ACCEPT,
	SIM_WRITEBACK, SIM_MKDIR, SIM_SIZE_OF, SIM_SEND_FILE, /* IO_UNLINK counts as SIM_UNLINK, IO_SYNC_DIR as SIM_SYNC_DIR */
	SIM_CALL_KINDS,
	SIM_ANY_CALL = SIM_CALL_KINDS,
};

/* Every call of every node has an index, from 0. */
uint64_t sim_calls(const struct sim *w);
/* How many calls of one kind were made so far. */
uint64_t sim_calls_of(const struct sim *w, enum sim_call kind);
/* The call with this index fails with `error` (positive errno); with forever, all later ones too. One rule at a
 * time: the last set holds (but sim_fail_more). A failed read or write may have moved some bytes; a failed sync or writeback makes all
 * unsynced data of that file lost at the next crash while later syncs report 0, as on Linux; a failed send closes the connection, as does
 * a send_file that fails with EIO or EPIPE; with another error it did not begin. */
void sim_fail_call(struct sim *w, uint64_t index, int error, bool forever);
/* The nth call of this kind from now (0 = the next) fails; kind may be SIM_ANY_CALL. */
void sim_fail_kind(struct sim *w, enum sim_call kind, uint64_t nth, int error, bool forever);
/* One more rule beside those that are set, up to four; then it takes the place of the first. */
void sim_fail_more(struct sim *w, enum sim_call kind, uint64_t nth, int error, bool forever);
void sim_fail_none(struct sim *w);
/* True when a rule has hit at least once since it was set. */
bool sim_fault_fired(const struct sim *w);
/* This share of reads and writes (0..1000 per mille) is short; at least one byte (IO_DIRECT: one block) is moved. */
void sim_short_io(struct sim *w, unsigned per_mille);

/* ---- disk ---- */

struct sim_latency { uint64_t min_ns, max_ns; };
struct sim_disk_speed { struct sim_latency read, write, sync; };
/* Default: 20-60 us each. */
void sim_disk_speed(struct sim *w, int node, struct sim_disk_speed speed);
/* Total bytes all files may hold (allocated counts); above: -ENOSPC. UINT64_MAX = none. free_bytes follows it. */
void sim_disk_limit(struct sim *w, int node, uint64_t bytes);
uint64_t sim_disk_used(const struct sim *w, int node);
/* Changes one byte of a file, on the platter and in the cache. 0, or -ENOENT / -ERANGE. */
int sim_flip(struct sim *w, int node, const char *name, uint64_t offset, uint8_t xor_mask);
/* Reads of this range fail with -EIO (a latent sector error) until it is written again. */
int sim_spoil(struct sim *w, int node, const char *name, uint64_t offset, uint64_t len);
/* Writes bytes behind the node's back, durably; creates the file. For planting files. */
void sim_plant(struct sim *w, int node, const char *name, struct span bytes);
/* The file as the node would read it now (appended). 0 or -ENOENT. */
int sim_peek(struct sim *w, int node, const char *name, struct buf *out);
/* The file as it would be after SIM_CRASH_DROP_ALL. 0 or -ENOENT (its name is not durable). */
int sim_peek_platter(struct sim *w, int node, const char *name, struct buf *out);
/* How many sectors of all files are not synced. */
uint64_t sim_unsynced(const struct sim *w, int node);
/* Forgets the page cache: what a failed sync lost is gone from now on. */
void sim_drop_caches(struct sim *w, int node);

/* ---- network: test clients ---- */

struct sim_peer_events {
	void (*connected)(void *ctx, struct sim_peer *peer);
	/* NULL: bytes are collected in sim_peer_inbox(). */
	void (*received)(void *ctx, struct sim_peer *peer, struct span bytes);
	/* 0 = the node ended the stream in order; -ECONNREFUSED: nobody listens; -ECONNRESET. Comes once, also
	 * after sim_peer_close (later, with 0). The peer may be freed in it. */
	void (*closed)(void *ctx, struct sim_peer *peer, int res);
};

/* Dials the node's first listener; any NULL event is skipped. The node is told `peer` "sim:N", or the link's host. */
struct sim_peer *sim_dial(struct sim *w, int node, const struct sim_peer_events *events, void *ctx);
/* Keeps a copy of the bytes; they travel by the link's rules. Nothing happens on a closed peer. */
void sim_peer_send(struct sim_peer *peer, struct span bytes);
/* No more bytes to the node; those from it still come. */
void sim_peer_shutdown(struct sim_peer *peer);
/* In order after what was sent, or (abort) a reset that overtakes it. */
void sim_peer_close(struct sim_peer *peer, bool abort);
/* Closes (abort) where needed, and gives the memory back; no callback comes after it. */
void sim_peer_free(struct sim_peer *peer);
/* A slow reader: while paused, bytes from the node wait in the window and then in the node's send. */
void sim_peer_pause(struct sim_peer *peer, bool paused);
struct buf *sim_peer_inbox(struct sim_peer *peer);
bool sim_peer_connected(const struct sim_peer *peer);
bool sim_peer_closed(const struct sim_peer *peer);

/* ---- network: faults ---- */

enum sim_way { SIM_TO_NODE = 1, SIM_TO_PEER = 2, SIM_BOTH_WAYS = 3 };

struct sim_link {
	uint64_t delay_min_ns, delay_max_ns; /* of each chunk; bytes stay in order */
	uint32_t chunk_max;                  /* chunks of 1..chunk_max bytes, by the seed; 0 = as sent (up to 64 KiB) */
	uint32_t window;                     /* bytes under way to the peer that it has not read */
	const char *host;         /* what the node is told, with ":N" behind it; borrowed; NULL = "sim" */
};
/* For links dialled from now on. Default: 20-60 us, unsplit, 256 KiB. */
void sim_link_default(struct sim *w, struct sim_link link);
void sim_peer_link(struct sim_peer *peer, struct sim_link link);
/* A chunk ends exactly before this byte of the stream to the node (counted from 0 since the dial). One at a time. */
void sim_peer_split_at(struct sim_peer *peer, uint64_t offset);
/* Bytes, ends and resets of this way wait until the stall is lifted; none is lost. */
void sim_peer_stall(struct sim_peer *peer, enum sim_way way, bool on);
/* A one-way cut: everything sent this way from now on vanishes. Neither side is told. */
void sim_peer_blackhole(struct sim_peer *peer, enum sim_way way);
/* Reset: both sides lose the connection (-ECONNRESET), bytes under way are lost. */
void sim_peer_cut(struct sim_peer *peer);
/* All links of a node: stalled ways, as a partition does. New dials wait too. */
void sim_node_stall(struct sim *w, int node, enum sim_way way, bool on);
