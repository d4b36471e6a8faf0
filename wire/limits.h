/* wire/limits.h: every fixed limit of the system on one screen, and the relations between them.
 * Limits that an operator may change are in broker/config.c with these as their upper bounds. */
#pragma once

#include "base.h"

enum {
	LIMIT_FRAME_HEADER = 16,
	LIMIT_META_BYTES = 1 << 20,       /* one FlatBuffer */
	LIMIT_PAYLOAD_BYTES = 1 << 20,    /* one task's payload or result; larger ones travel as blobs */
	LIMIT_BLOB_CHUNK = 256 << 10,     /* bytes of a blob in one frame */
	LIMIT_URL_BYTES = 4096,
	LIMIT_REFERENCE_BYTES = 4096,     /* a reference to what is kept elsewhere */
	LIMIT_FRAME_PAYLOAD = 4 << 20,    /* all payload bytes of one frame */
	LIMIT_FRAME_BYTES = LIMIT_FRAME_HEADER + LIMIT_META_BYTES + LIMIT_FRAME_PAYLOAD,
	LIMIT_HANDSHAKE_BYTES = 4 << 10,  /* everything a connection may send before WELCOME */
	LIMIT_HANDSHAKE_MS = 5000,
	LIMIT_RETRY_MS = 1000,            /* who is refused at a limit is asked to wait, where nothing better is known */
	LIMIT_FRAME_ITEMS = 16384,        /* tasks, reports, refs in one frame */

	LIMIT_NAME_BYTES = 255,           /* type, queue, client name */
	LIMIT_KEY_BYTES = 255,            /* idempotency key */
	LIMIT_STORED_KEY_BYTES = LIMIT_KEY_BYTES + 9, /* with whose it is in front */
	LIMIT_TEXT_BYTES = 4096,          /* error text, reason */
	LIMIT_REASON_BYTES = 200,         /* of a block: it is told to whom it keeps out */
	LIMIT_HEAD_BYTES = 16 << 10,      /* one task head, headers included */
	LIMIT_HEADERS = 64,
	LIMIT_HISTORY = 8,                /* failed attempts that are remembered of a task */
	LIMIT_YIELDS = 1 << 20,           /* of one task */
	LIMIT_FB_DEPTH = 8,               /* FlatBuffers verifier: nesting, and tables in all */
	LIMIT_FB_TABLES = 4096,

	LIMIT_AFTER = 1024,               /* tasks that one task comes after: by number, and by sequence */
	LIMIT_AFTER_BACK = 256,           /* how far back in its producer the latter reach */
	LIMIT_AFTER_EDGES = 65536,        /* of all tasks of a frame */

	LIMIT_PARAMS = 64,                /* parameters of one entry; their text form */
	LIMIT_PARAMS_BYTES = 4096,
	LIMIT_PARAM_NAME_BYTES = 64,
	LIMIT_PARAMS_TOLD = LIMIT_PARAMS_BYTES + 2 * LIMIT_NAME_BYTES + 32, /* with what the broker says of the session */
	LIMIT_PREDICATE_BYTES = 2048,     /* text form of a predicate; nesting */
	LIMIT_PREDICATE_DEPTH = 16,

	LIMIT_PRIORITY = 31,              /* 0 is served last, 31 first */
	LIMIT_SESSION_ENTRIES = 256,      /* entries one session may declare */
	LIMIT_ENTRY_CREDIT = 65536,
	LIMIT_SERVE_TEXTS = 1024,         /* vnets and hot names of all entries of a session; of one entry each */
	LIMIT_ENTRY_TEXTS = 64,
	LIMIT_CALL_MS = 24 * 3600 * 1000, /* deadline of a call */
	LIMIT_CHANGES = 128,              /* items of one CHANGES; legs of one binding */
	LIMIT_BINDING_LEGS = 64,
	LIMIT_SERVE_HELD = 32768,         /* leases a resuming session can name: bounded by the meta part of a frame */
	LIMIT_PRODUCER_WINDOW = 65536,    /* unresolved submissions of one producer */

	LIMIT_RECORD_BYTES = LIMIT_FRAME_PAYLOAD + LIMIT_META_BYTES,
	LIMIT_BATCH_BYTES = 16 << 20,     /* one turn's entry in the log */
	LIMIT_SEGMENT_BYTES_MIN = 256 << 10, /* small ones are for tests; log_open checks that a batch fits twice */
	DISK_BLOCK = 4096,                /* every batch starts and ends on one */
};

_Static_assert(LIMIT_BATCH_BYTES >= 2 * LIMIT_RECORD_BYTES, "a batch must hold two largest records");
_Static_assert(LIMIT_FRAME_PAYLOAD >= LIMIT_PAYLOAD_BYTES, "a frame must hold one largest payload");
_Static_assert(LIMIT_HEAD_BYTES < LIMIT_META_BYTES, "a head travels inside the meta part");
