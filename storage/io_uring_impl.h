/* storage/io_uring_impl.h: what the files io_uring*.c share. Nobody else includes it. */
#pragma once

#include <liburing.h>

#include "io.h"
#include "io_post.h"

struct uring_conn;
struct uring_pour;
struct uring_worker;
struct uring_listener;

struct uring_file {
	int fd;             /* -1 = free */
	uint32_t in_flight;
};

enum {
	URING_CHUNK_CONNS = 256, /* slots are allocated in chunks, so that their addresses stay */
	URING_NONE = UINT32_MAX,
};

enum { URING_RESERVE = 16 };

struct uring {
	struct io io; /* first: the vtable's `io` is cast back */
	struct io_uring ring;

	/* reaping (io_uring.c) */
	uint32_t callbacks;       /* ran since the current reap began */
	bool woken;
	uint32_t spin_us;
	uint32_t batch_average;   /* completions per reap, in eighths, moving */
	int32_t spin_credit;
	uint32_t spin_skipped;
	uint64_t useful_ns;       /* when something last completed */
	struct io_posts posts;
	int wake_fd;
	uint64_t wake_value;      /* the kernel writes here */

	/* files (io_uring_file.c) */
	int dir_fd;
	struct uring_file *files;
	uint32_t file_count;
	uint32_t ops_in_flight;
	int *locks;
	uint32_t lock_count;
	int reserve[URING_RESERVE]; /* given up for files when connections took every descriptor */
	uint32_t reserve_count;

	/* computation (io_uring_work.c); NULL until somebody wants some */
	struct uring_worker *worker;

	/* files to sockets (io_uring_pour.c): empty pipes */
	struct uring_pour *pours;
	uint32_t pours_kept;

	/* connections (io_uring_net.c) */
	uint32_t conns_max, conns_open, conns_made;
	uint32_t conn_free;       /* head of the list of free slots */
	struct uring_conn **chunks;
	struct io_uring_buf_ring *buf_ring;
	size_t buf_ring_bytes;
	uint8_t *bufs;
	size_t bufs_bytes;
	uint32_t buf_count, buf_bytes;
	uint32_t linger_first, linger_last; /* connections that wait for the peer's end, oldest first */
	bool linger_armed;
	bool freeing;             /* no callbacks any more */

	/* listeners (io_uring_listen.c) */
	struct uring_listener *listeners;
	int spare_fd;             /* given up for an instant to turn a caller away when descriptors run out */
};

/* The low three bits of user_data say whose completion it is; the rest is a pointer or a connection. */
enum uring_tag {
	URING_TAG_OP,        /* struct io_op * */
	URING_TAG_WAKE,
	URING_TAG_ACCEPT,    /* struct uring_listener * */
	URING_TAG_RETRY,     /* struct uring_listener *: the pause after EMFILE is over */
	URING_TAG_RECV,      /* slot and generation */
	URING_TAG_SEND,
	URING_TAG_NUDGE,     /* slot and generation: look at this connection again, from inside reap */
	URING_TAG_OTHER,     /* cancellations (0) and the linger timer (8) */
};
enum { URING_TAG_MASK = 7, URING_LINGER_TIMER = 8 | URING_TAG_OTHER };

static inline struct uring *uring_of(struct io *io) { return (struct uring *)(void *)io; }

static inline uint64_t uring_data(const void *pointer, enum uring_tag tag)
{
	ENSURE(((uintptr_t)pointer & URING_TAG_MASK) == 0);
	return (uint64_t)(uintptr_t)pointer | tag;
}

/* io_uring.c */
struct io_uring_sqe *uring_sqe(struct uring *u);            /* never NULL */
uint64_t uring_now(void);
/* One round without waiting; how many completions were handled. */
uint32_t uring_poll(struct uring *u);

/* io_uring_file.c */
struct uring_file *uring_file_get(struct uring *u, int file);
/* openat() below the directory that does not fail for want of descriptors while the reserve lasts. -1 and errno. */
int uring_open_below(struct uring *u, const char *name, int how);
int uring_open_dir(struct uring *u, const char *name);      /* "" = the data directory; a descriptor or -errno */
int uring_open(struct io *io, const char *name, unsigned flags);
void uring_close(struct io *io, int file);
int64_t uring_size(struct io *io, int file);
int uring_allocate(struct io *io, int file, uint64_t bytes);
int uring_truncate(struct io *io, int file, uint64_t bytes);
int uring_rename(struct io *io, const char *from, const char *to);
int uring_unlink(struct io *io, const char *name);
int uring_sync_dir(struct io *io);
int uring_mkdir(struct io *io, const char *name);
int64_t uring_size_of(struct io *io, const char *name);
int uring_list(struct io *io, const char *dir, void (*each)(void *ctx, const char *name), void *ctx);
int64_t uring_free_bytes(struct io *io);
int uring_lock(struct io *io, const char *name);
void uring_files_free(struct uring *u);

/* io_uring_op.c */
void uring_submit(struct io *io, struct io_op *op);
void uring_op_done(struct uring *u, struct io_op *op, int32_t res);

/* io_uring_work.c */
void uring_work(struct io *io, struct io_work *work);
bool uring_works_in_flight(const struct uring *u);
void uring_work_free(struct uring *u);

/* io_uring_pour.c */
int uring_pour_new(struct uring *u, int fd, int file, uint64_t offset, uint64_t len, struct uring_pour **out); /* 0 or -errno */
void uring_pour_arm(struct uring *u, const struct uring_pour *p, struct io_uring_sqe *sqe, int fd);
/* The result of what was armed. 1 = arm again; 0 = all is sent; else -errno. */
int uring_pour_step(struct uring_pour *p, int32_t res);
void uring_pour_free(struct uring *u, struct uring_pour *p);
void uring_pours_free(struct uring *u);

/* io_uring_net.c */
int uring_net_init(struct uring *u, const struct io_uring_config *config); /* 0 or -errno */
void uring_net_free(struct uring *u); /* drops what is still connected and waits until the kernel let go */
void uring_conn_new(struct uring *u, int fd, enum io_peer kind);
void uring_on_conn(struct uring *u, uint64_t data, int32_t res, uint32_t flags);
void uring_on_linger(struct uring *u);
void uring_send(struct io *io, struct io_conn conn, struct span bytes);
int uring_send_file(struct io *io, struct io_conn id, int file, uint64_t offset, uint64_t len);
void uring_pause(struct io *io, struct io_conn conn, bool paused);
void uring_close_conn(struct io *io, struct io_conn conn, bool abort);
int64_t uring_peer_uid(struct io *io, struct io_conn id);

/* io_uring_listen.c */
int uring_listen(struct io *io, const char *url, uint16_t *port_out);
void uring_stop_listening(struct io *io);
void uring_reserve_fill(struct uring *u);
void uring_on_accept(struct uring *u, struct uring_listener *l, int32_t res, uint32_t flags);
void uring_on_retry(struct uring *u, struct uring_listener *l);
/* A printable name of the other end: "127.0.0.1:4711", "[::1]:4711" or "unix:pid=1,uid=0". */
void uring_peer_name(int fd, bool local, char *out, size_t cap);
