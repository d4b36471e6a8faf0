/* tests/sim/io_sim_impl.h: what the files io_sim*.c share. */
#pragma once

#include <errno.h>

#include "../../wire/limits.h"
#include "../../storage/io_post.h"
#include "io_sim.h"

enum { SIM_SECTOR = 512, SIM_PAGE_SECTORS = DISK_BLOCK / SIM_SECTOR, SIM_NAME_MAX = 256 };

struct sim_inode;
struct sim_disk;
struct sim_proc;

/* One submitted operation or work. Held by its event and, until done() was called, by its process. */
struct sim_flight {
	struct sim_flight *next, *prev; /* in the process's list */
	struct sim_proc *proc;          /* NULL once done, buried or freed */
	struct io_op *op;               /* NULL: this is computation */
	struct io_work *work;
	struct sim_inode *inode;
	unsigned flags;                 /* of the open file */
	int fault;                      /* -errno to be reported, or 0 */
	int64_t res;
	bool crashed;
	int refs;
	struct sim_snapshot *snapshots; /* of a sync: what was dirty when it was submitted */
	size_t snapshot_count;
	uint64_t stamp;
	uint64_t new_size;
	uint64_t dir_stamp;             /* of a sync of a directory: the last change before it */
};

enum sim_ready_kind { READY_OP, READY_WORK, READY_ACCEPT, READY_DATA, READY_SENT, READY_END };

struct sim_item;

/* One thing a process has to be told at its next reap. */
struct sim_ready {
	enum sim_ready_kind kind;
	struct sim_flight *flight;
	struct sim_peer *peer;
	struct sim_item *item;
};

struct sim_file {
	struct sim_inode *inode;
	unsigned flags;
	uint32_t in_flight;
};

struct sim_slot {
	struct sim_peer *peer;
	uint32_t generation;
};

/* A process: what lives in memory and dies with a crash. */
struct sim_proc {
	struct io io; /* first */
	struct io_vtable vtable;
	struct sim *w;
	int node;
	bool dead, woken, reaping;
	struct io_posts posts;
	uint64_t deadline_ns;     /* of the last reap, for stepped mode */
	struct sim_ready *ready;
	size_t ready_count, ready_cap;
	struct sim_flight *flights;
	struct sim_file *files;
	int file_count;
	uint64_t work_at;         /* when the last work runs */
	struct sim_slot *slots;
	uint32_t slot_count;
	uint32_t listeners;
	uint16_t port;
	struct sim_proc *next_dead;
};

struct sim_event {
	uint64_t at, seq;
	void (*fn)(struct sim *w, void *ctx);
	void *ctx;
};

struct sim_node {
	struct sim_proc *proc;    /* the running or crashed one */
	struct sim_disk *disk;
	unsigned stalled;         /* enum sim_way */
};

enum { SIM_FAULTS = 4 };

struct sim_fault {
	bool set, forever, fired;
	enum sim_call kind;       /* SIM_ANY_CALL: by index over all */
	uint64_t index;
	int error;
};

struct sim {
	uint64_t seed, now, seq;
	uint64_t rand_world, rand_test, rand_node;
	uint64_t hash;
	int64_t wall_offset_ms;
	FILE *trace;
	bool stepped, freeing;
	uint32_t idle_reaps;
	struct sim_event *heap;
	size_t heap_count, heap_cap;
	uint64_t calls, calls_of[SIM_CALL_KINDS];
	struct sim_fault faults[SIM_FAULTS];
	uint32_t next_fault;
	unsigned short_per_mille;
	struct sim_node nodes[SIM_NODES_MAX];
	struct sim_proc *dead;    /* crashed processes whose io was not freed */
	struct sim_peer **peers;
	size_t peer_count, peer_cap;
	struct sim_link link;
};

/* io_sim.c */
uint64_t sim_world_rand(struct sim *w);
uint64_t sim_world_below(struct sim *w, uint64_t bound); /* 0 for bound 0 */
uint64_t sim_world_between(struct sim *w, uint64_t min, uint64_t max);
void sim_at(struct sim *w, uint64_t at, void (*fn)(struct sim *w, void *ctx), void *ctx);
void sim_note(struct sim *w, int node, const char *what, uint64_t a, uint64_t b);
/* Counts a call; 0, or -errno where the rule hits or the process is dead. */
int sim_call_begin(struct sim_proc *p, enum sim_call kind);
void sim_push(struct sim_proc *p, struct sim_ready r);
struct sim_proc *sim_proc_of(struct io *io);

/* io_sim_disk.c */
struct sim_disk *sim_disk_new(void);
void sim_disk_free(struct sim_disk *d);
void sim_disk_crash(struct sim *w, struct sim_proc *p, enum sim_crash_pattern pattern);
void sim_disk_leave(struct sim_proc *p); /* closes files, drops locks */
struct sim_flight *sim_flight_new(struct sim_proc *p); /* in its list; `crashed` where p is dead */
void sim_flight_unref(struct sim_flight *f);
void sim_flight_unlink(struct sim_flight *f);
void sim_disk_submit(struct io *io, struct io_op *op);

/* io_sim_file.c */
void sim_disk_vtable(struct io_vtable *v);
/* A file's bytes for the network, from malloc; the file counts as in use until sim_file_sent. 0 or -errno. */
int sim_file_take(struct sim_proc *p, int file, uint64_t offset, uint64_t len, uint8_t **out);
void sim_file_sent(struct sim_proc *p, int file);

/* io_sim_net.c */
void sim_net_vtable(struct io_vtable *v);
void sim_net_ready(struct sim_proc *p, struct sim_ready *r); /* runs the callback */
void sim_net_leave(struct sim_proc *p);   /* the process is gone: peers are reset */
void sim_net_bury(struct sim_proc *p);    /* gives closed() for what is open */
void sim_net_free(struct sim *w);
void sim_item_free(struct sim_item *item);
