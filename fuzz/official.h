/* fuzz/official.h: the hot messages as the official FlatBuffers library builds them, for comparison only. */
#pragma once

#include "../wire/msg.h"

/* Appends one whole frame, as msg_encode does. Only SUBMIT, CONFIRMS, RESULTS, CREDIT, DELIVER, REPORT, REPORTED. */
void official_encode(struct buf *out, const struct msg *msg, uint32_t correlation, const struct span *payload,
		     uint32_t payload_count);
/* Does the official Verifier, with its default limits, accept `meta` as the table of `kind`? */
bool official_verify(uint16_t kind, struct span meta);
