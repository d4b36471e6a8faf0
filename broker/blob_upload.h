/* broker/blob_upload.h: one upload; see blob_upload.c. Private to the desk. */
#pragma once

#include "blob_desk.h"

struct upload_chunk {
	struct upload_chunk *next;
	uint32_t size, room;
	bool hashed, written;
	uint8_t data[];
};

enum upload_stage {
	UPLOAD_OPEN,      /* takes bytes */
	UPLOAD_DIRECT,    /* the client puts them into the store itself */
	UPLOAD_FINISHING, /* the backend makes them durable, or looks at them */
	UPLOAD_THERE,     /* durable; its record is to be proposed */
	UPLOAD_ADDING,    /* the record is under way */
	UPLOAD_STORED,
};

struct upload {
	struct upload *next, *prev; /* all of them */
	struct upload *session_next;
	struct session *session;    /* NULL: over */
	struct blob_desk *desk;
	uint32_t id;                /* the client's */
	uint8_t who_kind;
	bool over, ended;           /* ended: BLOB_END has come */
	bool hashing, job_busy;
	enum upload_stage stage;
	uint64_t number, size;      /* size: as announced, or BLOB_SIZE_UNKNOWN */
	uint64_t offset, credit, done;
	uint64_t window, active_ms;
	struct blob_key key;
	uint8_t said[BLOB_DIGEST];
	uint64_t said_size;
	struct upload_chunk *first, **last, *tail, *to_hash, *to_write;
	struct sha256 hash;
	struct io_work work;
	struct blob_job job;
	struct blob_writer *writer;
	char principal[LIMIT_NAME_BYTES + 1], vnet[LIMIT_NAME_BYTES + 1], media[LIMIT_NAME_BYTES + 1], url[LIMIT_URL_BYTES];
};

void uploads_detached(struct session *session);
void uploads_ended(struct session *session);
/* May its principal have so many bytes more? */
bool upload_may(const struct blob_desk *d, const struct session *session, uint64_t size, char text[256]);
