/* tests/sim/io_sim_disk.h: the disk as io_sim_disk.c (operations, crashes) and io_sim_file.c (names, knobs) share it. */
#pragma once

#include "io_sim_impl.h"

struct page {
	uint8_t cache[DISK_BLOCK], platter[DISK_BLOCK];
	uint8_t dirty, lost, spoiled; /* a bit per sector; lost: a failed sync has forgotten it */
	uint64_t stamp;               /* of the last write */
};

struct sim_inode {
	struct sim_inode *next;       /* in the disk's list, oldest first */
	uint64_t size, platter_size, reserved;
	bool size_lost, directory;
	struct page **pages;
	size_t page_count;
	int opens;
	struct sim_proc *locked_by;
	bool named;                   /* scratch */
};

struct sim_snapshot {
	struct page *page;
	uint8_t dirty;
	uint8_t bytes[DISK_BLOCK];
};

struct name {
	char text[SIM_NAME_MAX];
	struct sim_inode *inode;
};

struct names {
	struct name *at;
	size_t count, cap;
};

struct dir_op {
	char remove[SIM_NAME_MAX];    /* "" = nothing */
	struct name add;              /* inode NULL = nothing */
	struct sim_inode *removed;
	uint64_t stamp;               /* in the order of the changes */
};

struct sim_disk {
	struct sim_inode *inodes, **inodes_end;
	struct names now, durable;
	struct dir_op *ops;           /* since the last sync of their directories */
	size_t op_count, op_cap;
	uint64_t op_stamp;
	uint64_t limit, stamp;
	struct sim_disk_speed speed;
};

enum how { HOW_CACHED, HOW_DURABLE };

struct name *sim_name_find(struct names *n, const char *text);
void sim_name_set(struct names *n, const char *text, struct sim_inode *inode);
void sim_name_remove(struct names *n, const char *text);
/* The length of the name of the directory that this name is in; 0 = the data directory. */
size_t sim_parent_len(const char *text);
/* Is there such a directory ("" always)? */
bool sim_has_directory(struct names *n, const char *text, size_t len);
int sim_unlink(struct sim_disk *d, const char *text);
/* Makes durable what changed in this directory up to a stamp. */
void sim_dir_durable(struct sim_disk *d, const char *dir, uint64_t stamp);
/* Remembers a change of a directory until its sync makes it durable or a crash decides. */
void sim_dir_op(struct sim_disk *d, const char *remove, struct sim_inode *removed, const char *add,
		struct sim_inode *inode);
struct sim_inode *sim_inode_new(struct sim_disk *d);
void sim_inode_free(struct sim_inode *n);
void sim_inodes_sweep(struct sim_disk *d);
struct page *sim_page_of(struct sim_inode *n, uint64_t index, bool make);
uint64_t sim_space_used(const struct sim_disk *d);
bool sim_fits(const struct sim_disk *d, const struct sim_inode *n, uint64_t size);
/* data NULL stores zeros. */
void sim_store(struct sim_disk *d, struct sim_inode *n, uint64_t offset, const uint8_t *data, size_t len,
	       enum how how);
int sim_load(struct sim_inode *n, uint64_t offset, uint8_t *out, size_t len);
