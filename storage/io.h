/* storage/io.h: the only door to the world: disk, network, time and randomness.
 *
 * Two implementations: storage/io_uring.c (one ring per shard) and tests/sim/io_sim.c (virtual time, faults,
 * one seed). Nothing else in storage/ or broker/ may call the kernel. One thread owns an io; nothing here
 * is thread-safe.
 *
 * Two kinds of call:
 *  - cold calls (open, rename, list ...) are made at start, at segment changes, once or twice for a blob and at stop; they may
 *    block for the length of one metadata operation and return 0 or -errno at once;
 *  - submitted operations (read, write, sync, unlink) are completed exactly once, through op->done, from inside
 *    io_reap() and never from inside io_submit(). Until then the op and its buffer must not move or be freed.
 * io_reap() is the only place that waits. Callbacks run inside it; they may submit and close, never reap. */
#pragma once

#include "../wire/span.h"

struct io;

/* ---- submitted file operations ---- */

enum io_op_kind {
	IO_READ,      /* up to len bytes at offset; res = bytes read, 0 at end of file */
	IO_WRITE,     /* len bytes at offset; res = bytes written; a short write is legal: go on from there */
	IO_SYNC,      /* data and size of the file durable when res == 0 */
	IO_WRITEBACK, /* moves what was written in the range to the disk, so that a later sync is short. Promises nothing; but a
	               * failure is that of a sync: the bytes are lost, and no sync after it will say so */
	IO_UNLINK,    /* removes the file that `data` names; durable after a sync of its directory. No `file` */
	IO_SYNC_DIR,  /* the names in the directory that `data` names ("" = the data directory) durable when res == 0. No `file` */
	IO_NOP,       /* nothing: res = 0 in one of the next reaps. No `file` */
};
/* Does an operation of this kind belong to an open file? */
static inline bool io_op_has_file(enum io_op_kind kind) { return kind <= IO_WRITEBACK; }

struct io_op {
	enum io_op_kind kind;
	int file;          /* from io_open */
	void *data;        /* IO_DIRECT files: address, len and offset are multiples of DISK_BLOCK. Names are only read */
	size_t len;
	uint64_t offset;
	void (*done)(struct io_op *op, int64_t res); /* res < 0 is -errno */
	void *ctx;         /* the submitter's */
	void *impl_next;   /* the implementation's, until done */
	uint64_t impl[4];
};

/* ---- word from another thread ---- */

struct io_post {
	void (*fn)(struct io_post *post);
	struct io_post *next; /* the implementation's, until fn is called */
};

/* ---- computation that would hold up the loop ---- */

struct io_work {
	void (*run)(void *ctx);  /* on the one helper thread, in the order of io_work calls: what it touches, nobody else does until done */
	void (*done)(void *ctx); /* from inside io_reap, exactly once */
	void *ctx;
	struct io_work *next;    /* the implementation's, until done; and the rest */
	struct io_post post;
	void *impl;
};

/* ---- connections ---- */

/* A stale id names nothing: the generation changes when a slot is used again. */
struct io_conn {
	uint32_t slot, generation;
};

/* What came in on which listener: its url's scheme. TLS is the owner's work: to the io it is TCP. */
enum io_peer { IO_PEER_TCP, IO_PEER_LOCAL, IO_PEER_TLS };

/* What the owner of the listeners is told. All spans are borrowed until the callback returns. */
struct io_net_events {
	/* A peer dialled in. `peer` is a printable address; `kind` is that of the listener.
	 * The answer is the owner's context for this connection, or NULL to have it closed at once. */
	void *(*accepted)(void *owner, struct io_conn conn, const char *peer, enum io_peer kind);
	/* Bytes arrived, in order. */
	void (*received)(void *owner, void *conn_ctx, struct span bytes);
	/* The send that io_send or send_file started is over: 0, or -errno and `closed` will follow. */
	void (*sent)(void *owner, void *conn_ctx, int res);
	/* The connection is gone (0 = orderly end of stream by the peer, else -errno). Comes exactly once for each
	 * accepted connection, also after io_close_conn, and is the last call for it: no send is in flight
	 * any more and conn_ctx may be freed. */
	void (*closed)(void *owner, void *conn_ctx, int res);
};

/* ---- names ---- */

enum { IO_NAME_MAX = 255, IO_NAME_PARTS = 3 };

/* One to three parts with a slash between each two, the last of which is the file: none of them empty, "." or "..". */
bool io_name_ok(const char *name);

/* ---- the table of functions ---- */

enum {
	IO_CREATE = 1,    /* create; fails with -EEXIST where the name exists */
	IO_DIRECT = 2,    /* O_DIRECT where the file system has it */
	IO_DSYNC = 4,     /* each write is durable when it completes */
	IO_READONLY = 8,
};

struct io_vtable {
	/* Waits until something completes, a wake-up comes or deadline_ns (monotonic) is reached, then runs all
	 * callbacks that are due. deadline_ns 0 = do not wait. Returns how many callbacks ran. */
	uint32_t (*reap)(struct io *io, uint64_t deadline_ns);
	void (*submit)(struct io *io, struct io_op *op);

	uint64_t (*now_ns)(struct io *io);   /* monotonic; never goes back */
	uint64_t (*wall_ms)(struct io *io);  /* milliseconds since 1970, may jump */
	void (*random)(struct io *io, void *out, size_t len);

	/* Files. Names are those of io_name_ok, inside the one data directory of this io. */
	int (*open)(struct io *io, const char *name, unsigned flags);    /* file id >= 0 or -errno */
	void (*close)(struct io *io, int file);                          /* no op may be in flight */
	int64_t (*size)(struct io *io, int file);
	int (*allocate)(struct io *io, int file, uint64_t bytes);        /* reserves; reads as zeros; size = bytes */
	int (*truncate)(struct io *io, int file, uint64_t bytes);
	int (*rename)(struct io *io, const char *from, const char *to);  /* atomic; durable after sync_dir */
	int (*unlink)(struct io *io, const char *name);                  /* durable after sync_dir */
	int (*sync_dir)(struct io *io);                                  /* the data directory itself; others by IO_SYNC_DIR */
	int (*mkdir)(struct io *io, const char *name);                   /* 0 also where it is there; durable after a sync of its parent */
	int64_t (*size_of)(struct io *io, const char *name);             /* of a file that is not open; -EISDIR for a directory */
	/* What is in the directory `dir` ("" = the data directory), directories included, each without the name of `dir`. */
	int (*list)(struct io *io, const char *dir, void (*each)(void *ctx, const char *name), void *ctx);
	int64_t (*free_bytes)(struct io *io);                            /* of the file system */
	int (*lock)(struct io *io, const char *name);                    /* creates; -EWOULDBLOCK where held; until the io is freed */

	/* Network. `url` is tcp://HOST:PORT, tcp://[V6]:PORT, the same with tls://, or unix://PATH; port 0 = any, and *port_out tells which. */
	int (*listen)(struct io *io, const char *url, uint16_t *port_out);  /* 0 or -errno; more than one allowed */
	void (*stop_listening)(struct io *io);                              /* all listeners; accepted connections stay */
	/* Sends all of `bytes` in order; one send in flight per connection; memory stays put until `sent`. */
	void (*send)(struct io *io, struct io_conn conn, struct span bytes);
	/* The same with `len` > 0 bytes of a file at `offset`, which do not pass through our memory. The file stays open until `sent`; one
	 * that ends before gives -EIO. 0, or -errno where it did not begin (no descriptors left, say): send it from memory then. */
	int (*send_file)(struct io *io, struct io_conn conn, int file, uint64_t offset, uint64_t len);
	/* While paused nothing more is received (bytes already on their way may still be delivered). */
	void (*pause)(struct io *io, struct io_conn conn, bool paused);
	/* Starts the close; `closed` follows. abort = drop unsent bytes and reset. */
	void (*close_conn)(struct io *io, struct io_conn conn, bool abort);
	/* The user on the other side of a unix socket, -1 where that is not known. */
	int64_t (*peer_uid)(struct io *io, struct io_conn conn);
	/* Queues computation for the helper thread, which is made at the first call. */
	void (*work)(struct io *io, struct io_work *work);
	/* Callable from another thread or a signal handler: makes reap return. */
	void (*wake)(struct io *io);
	/* Callable from another thread (of the simulator: from its own): post->fn runs once, inside reap, in the order of the calls; from
	 * then on the post is its owner's again. What was not run by then is run when the io is freed. */
	void (*post)(struct io *io, struct io_post *post);
	void (*free)(struct io *io); /* no operation and no work may be in flight */
};

struct io {
	const struct io_vtable *v;
	const struct io_net_events *net;
	void *net_owner;
};

/* Convenience spellings, so that callers read io_now_ns(io). */
static inline uint32_t io_reap(struct io *io, uint64_t deadline_ns) { return io->v->reap(io, deadline_ns); }
static inline void io_submit(struct io *io, struct io_op *op) { io->v->submit(io, op); }
static inline void io_work(struct io *io, struct io_work *work) { io->v->work(io, work); }
static inline uint64_t io_now_ns(struct io *io) { return io->v->now_ns(io); }
static inline uint64_t io_wall_ms(struct io *io) { return io->v->wall_ms(io); }

struct io_uring_config {
	const char *dir;            /* data directory; created by the caller */
	uint32_t conns_max;         /* slots for connections */
	uint32_t recv_buffers;      /* provided buffers, a power of two */
	uint32_t recv_buffer_bytes;
	uint32_t spin_us;           /* how long reap polls for the next message before it sleeps; 0 = never */
};

/* Opens the real thing on a ring of its own. 0 and *out, or -errno and a message in text (256 bytes). */
int io_uring_open(const struct io_uring_config *config, struct io **out, char text[256]) MUST_CHECK;

/* ---- blocking helpers for start and stop (storage/io_sync.c), built on the calls above ---- */

/* Reads a whole small file into `out` (appended). 0 or -errno; -ENOENT where there is none; -EFBIG over max. */
int io_read_file(struct io *io, const char *name, size_t max, struct buf *out) MUST_CHECK;
/* Writes name.tmp, syncs it, renames it to name and syncs the directory. 0 or -errno. */
int io_replace_file(struct io *io, const char *name, struct span bytes) MUST_CHECK;
/* One operation, waited for (short transfers are continued). Bytes transferred or -errno. */
int64_t io_do(struct io *io, enum io_op_kind kind, int file, void *data, size_t len, uint64_t offset) MUST_CHECK;
