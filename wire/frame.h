/* wire/frame.h: the 16-byte frame header and its incremental decoder.
 *
 *   size u32 | kind u16 | flags u16 | meta size u32 | correlation u32      (little-endian)
 *
 * `size` counts everything after the header: meta (one FlatBuffer), then the raw payload part. Each is padded with
 * zeros to a multiple of 8, and the padding is counted, so every frame is a multiple of 8 long: in a buffer that
 * starts 8-aligned, all frames and their meta parts are 8-aligned, however many arrive back to back. The real
 * length of the payload part follows from the message (its sizes).
 * In the flow: socket -> FRAME -> verify -> session. Borrows its input, keeps nothing. */
#pragma once

#include "err.h"
#include "limits.h"
#include "span.h"

enum frame_kind {
	FRAME_HELLO = 1, FRAME_WELCOME = 2, FRAME_ERROR = 3, FRAME_PING = 4, FRAME_PONG = 5, FRAME_GOODBYE = 6,
	FRAME_SUBMIT = 16, FRAME_CONFIRMS = 17, FRAME_AWAIT = 18, FRAME_FORGET = 19, FRAME_RESULTS = 20, FRAME_UPDATES = 21,
	FRAME_SERVE = 32, FRAME_CREDIT = 33, FRAME_DELIVER = 34, FRAME_REPORT = 35, FRAME_REPORTED = 36, FRAME_SIGNALS = 37,
	FRAME_REQUEST = 48, FRAME_REPLY = 49,
	FRAME_SUBSCRIBE = 80, FRAME_SUBSCRIBED = 81, FRAME_UNSUBSCRIBE = 82, FRAME_PUBLISH = 83, FRAME_PUBLISHED = 84,
	FRAME_EVENTS = 85, FRAME_EVENT_CREDIT = 86, FRAME_INTEREST = 87,
	FRAME_WATCH = 64, FRAME_UNWATCH = 65, FRAME_CHANGES = 66,
	FRAME_CALL = 96, FRAME_ANSWER = 97, FRAME_INVOKE = 98, FRAME_CALL_CANCEL = 99,
	FRAME_BIND = 100, FRAME_BINDING = 101, FRAME_UNBIND = 102,
	FRAME_BLOB_PUT = 112, FRAME_BLOB_STATE = 113, FRAME_BLOB_CHUNK = 114, FRAME_BLOB_END = 115,
	FRAME_BLOB_GET = 116, FRAME_BLOB_DATA = 117, FRAME_BLOB_MORE = 118,
};

struct frame {
	uint16_t kind;
	uint16_t flags;       /* none defined yet: sent as 0, ignored */
	uint32_t correlation; /* Request -> Reply, Serve -> Error ...: given back unchanged */
	struct span meta;     /* 8-aligned where the input was; may end in padding */
	struct span payload;  /* may end in up to 7 bytes of padding */
};

/* The name of a kind ("SUBMIT"), or "kind-N" is not made up: unknown gives "UNKNOWN". Static. */
const char *frame_kind_name(uint16_t kind);

/* Looks for one whole frame at the start of `in`.
 *  ERR_OK: *out is filled (borrowing `in`) and *used bytes are consumed.
 *  ERR_AGAIN: *need (> in.len) is how many bytes from the start of `in` must be there; call again.
 *  ERR_TOO_BIG, ERR_MALFORMED: the stream cannot go on; text says which field was wrong.
 * `frame_max` bounds header + body, so that a lying size is refused before one body byte is buffered. */
enum err frame_decode(struct span in, size_t frame_max, struct frame *out, size_t *used, size_t *need,
		      char text[128]) MUST_CHECK;

/* Starts a frame at the end of `out`: reserves the header, returns where it is (an offset).
 * Then append meta, call frame_meta_done, append payload, call frame_end (both pad). Frames start 8-aligned
 * relative to the buffer's start where the previous one was ended by frame_end. */
size_t frame_begin(struct buf *out, enum frame_kind kind, uint32_t correlation);
void frame_meta_done(struct buf *out, size_t begin);
void frame_end(struct buf *out, size_t begin);
/* Ends it where `more` bytes of payload, and their padding to 8, will follow from elsewhere. */
void frame_end_before(struct buf *out, size_t begin, uint32_t more);
/* Changes the correlation of a frame that was begun at `begin`, ended or not. */
void frame_set_correlation(struct buf *out, size_t begin, uint32_t correlation);
