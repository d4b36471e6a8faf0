/* wire/codec.h: the seam inside the codec, private to wire/. Above it C and plain structs, below it the generated
 * C++ of FlatBuffers (codec.cc). Verification of structure happens below, the meaning of values is judged above
 * (msg_check.c). */
#pragma once

#include "msg.h"

/* Verifies and reads the meta part of a frame of `kind`, which is a known one. Limits of values are not checked,
 * except where a value has no room in the plain struct. */
enum err codec_read(uint16_t kind, struct span meta, struct msg *out, char text[128]) MUST_CHECK;
enum err codec_head_read(struct span head, struct task_head *out, char text[128]) MUST_CHECK;

/* The same for EventHead bytes. */
enum err codec_event_head_read(struct span head, struct event_head *out, char text[128]) MUST_CHECK;

/* Appends the meta part alone. For every kind that codec_hot.c does not build. */
void codec_write(struct buf *out, const struct msg *msg);
void codec_head_write(struct buf *out, const struct task_head *head);
void codec_event_head_write(struct buf *out, const struct event_head *head);
/* Those with a payload part: with this checksum instead of the message's. */
void codec_publish_write(struct buf *out, const struct msg_publish *m, uint32_t crc);
void codec_events_write(struct buf *out, const struct msg_events *m, uint32_t crc);
void codec_call_write(struct buf *out, const struct msg_call *m, uint32_t crc);
void codec_invoke_write(struct buf *out, const struct msg_invoke *m, uint32_t crc);
void codec_answer_write(struct buf *out, const struct msg_answer *m, uint32_t crc);

/* Judges the values of a message that codec_read has filled, against `payload`, the frame's payload part. */
enum err msg_check(const struct msg *msg, struct span payload, char text[128]) MUST_CHECK;
enum err msg_check_event(const struct msg *msg, struct span payload, char text[128]) MUST_CHECK; /* its area of kinds */
/* One entry of the directory; texts begin with WHAT[INDEX]. */
enum err msg_check_entry(const char *what, uint32_t index, const struct wire_entry *e, char text[128]) MUST_CHECK;
enum err msg_check_directory(const struct msg *msg, struct span payload, char text[128]) MUST_CHECK;
enum err msg_check_call(const struct msg *msg, struct span payload, char text[128]) MUST_CHECK;
enum err msg_check_blob(const struct msg *msg, struct span payload, char text[128]) MUST_CHECK;
enum err task_head_check(const struct task_head *head, char text[128]) MUST_CHECK;

/* Writes the text and gives back the code, so that a check is one line. */
enum err msg_refuse(char text[128], enum err code, const char *format, ...) PRINTF_LIKE(3, 4);
