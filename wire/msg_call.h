/* wire/msg_call.h: the messages of calls and bindings as plain structs. A part of msg.h, which says the rules; included by it alone. */
#pragma once

enum binding_state { BINDING_NONE, BINDING_WAITING, BINDING_ACTIVE, BINDING_DEGRADED, BINDING_ENDED, BINDING_STATES };

struct invoke_item { uint64_t call; uint32_t size, deadline_ms; };
struct answer_item { uint64_t call, session; uint32_t entry, size, app_code; uint16_t code; uint8_t more, payload; };
struct leg { uint64_t session; uint32_t entry, pad; };
_Static_assert(sizeof(struct invoke_item) == 16 && sizeof(struct answer_item) == 32 && sizeof(struct leg) == 16, "wire layout");

struct msg_call {
	uint64_t first, session; uint32_t entry, binding, deadline_ms; bool all, stream, wait; struct span service, where;
	struct span head; /* EventHead bytes, verified */
	struct u32s sizes; uint32_t crc;
};
struct msg_invoke {
	uint32_t entry; bool stream; uint64_t caller; struct span client, head;
	const struct invoke_item *items; uint32_t count; uint32_t crc;
};
struct msg_answer { const struct answer_item *items; uint32_t count; uint32_t crc; };
struct msg_call_cancel { struct u64s calls; };
struct msg_bind { uint32_t binding, min, desired, waiting; struct span service, where; };
struct msg_binding { uint32_t binding; uint8_t state; uint16_t code; struct span text; const struct leg *legs; uint32_t leg_count; };
struct msg_unbind { uint32_t binding; };
