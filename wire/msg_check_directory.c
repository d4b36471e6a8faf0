/* wire/msg_check_directory.c: judges the values of the messages of the directory, and the entry that SERVE declares.
 * In the flow: frame -> VERIFY -> session. The rules of msg_check.c hold. */
#include "check.h"

#define CHECK(call)                     \
	do {                            \
		enum err e_ = (call);   \
		if (e_ != ERR_OK)       \
			return e_;      \
	} while (0)

static enum err names_check(const char *what, uint32_t index, const char *field, const struct span *names, uint32_t count,
			    char text[128])
{
	if (count > LIMIT_ENTRY_TEXTS)
		return msg_refuse(text, ERR_TOO_BIG, "%s[%u].%s: %u are over the limit of %u", what, index, field, count,
				  (unsigned)LIMIT_ENTRY_TEXTS);
	for (uint32_t i = 0; i < count; i++)
		if (names[i].len == 0 || names[i].len > LIMIT_NAME_BYTES)
			return msg_refuse(text, ERR_INVALID_INPUT, "%s[%u].%s[%u]: empty, or over %u bytes", what, index, field, i,
					  (unsigned)LIMIT_NAME_BYTES);
	return ERR_OK;
}

enum err msg_check_entry(const char *what, uint32_t index, const struct wire_entry *e, char text[128])
{
	if (e->service.len == 0 || e->service.len > LIMIT_NAME_BYTES)
		return msg_refuse(text, e->service.len ? ERR_TOO_BIG : ERR_INVALID_INPUT, "%s[%u].service: %s", what, index,
				  e->service.len ? "over the limit of 255 bytes" : "empty");
	if (e->credit > LIMIT_ENTRY_CREDIT)
		return msg_refuse(text, ERR_TOO_BIG, "%s[%u].credit: %u is over the limit of %u", what, index, e->credit,
				  (unsigned)LIMIT_ENTRY_CREDIT);
	if (e->capacity > LIMIT_ENTRY_CREDIT)
		return msg_refuse(text, ERR_TOO_BIG, "%s[%u].capacity: %u is over the limit of %u", what, index, e->capacity,
				  (unsigned)LIMIT_ENTRY_CREDIT);
	if (e->params.len > LIMIT_PARAMS_TOLD)
		return msg_refuse(text, ERR_TOO_BIG, "%s[%u].params: %zu bytes are over the limit of %u", what, index, e->params.len,
				  (unsigned)LIMIT_PARAMS_TOLD);
	CHECK(names_check(what, index, "vnets", e->vnets, e->vnet_count, text));
	return names_check(what, index, "hot", e->hot, e->hot_count, text);
}

static enum err changes_check(const struct msg_changes *m, char text[128])
{
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->items[i].kind == CHANGE_NONE || m->items[i].kind >= CHANGE_KINDS)
			return check_range(text, "CHANGES.items.kind", i, m->items[i].kind);
		CHECK(check_length("CHANGES.items.client", m->items[i].client, LIMIT_NAME_BYTES, text));
		CHECK(msg_check_entry("CHANGES.items", i, &m->items[i].entry, text));
	}
	return ERR_OK;
}

enum err msg_check_directory(const struct msg *msg, struct span payload, char text[128])
{
	CHECK(check_no_payload(msg, payload, text));
	if (msg->kind == FRAME_CHANGES)
		return changes_check(&msg->changes, text);
	if (msg->kind == FRAME_UNWATCH)
		return ERR_OK;
	CHECK(check_length("WATCH.service", msg->watch.service, LIMIT_NAME_BYTES, text));
	return check_length("WATCH.where", msg->watch.where, LIMIT_PREDICATE_BYTES, text);
}
