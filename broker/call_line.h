/* broker/call_line.h: calls that wait for a holder, in order; and how a call is handed to one. */
#pragma once

#include "call_pool.h"

struct asked { struct span where, head, payload; };

struct call_line *call_line_new(struct shard *s, struct dir_service *service, struct binding *binding);
/* False: the line is full. */
bool call_wait(struct calls *calls, struct live_call *call, struct call_line *line, const struct asked *asked);
void call_invoke(struct shard *s, const struct dir_entry *e, const struct session *caller, struct span head, bool stream,
		 const struct invoke_item *items, const struct span *pieces, uint32_t count);
