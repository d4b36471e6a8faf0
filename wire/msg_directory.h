/* wire/msg_directory.h: the messages of the directory as plain structs. A part of msg.h, which says the rules; included by it alone. */
#pragma once

enum change_kind { CHANGE_NONE, CHANGE_JOINED, CHANGE_CHANGED, CHANGE_LEFT, CHANGE_KINDS };

struct msg_watch { uint32_t watch; struct span service, where; bool once; };
struct msg_unwatch { uint32_t watch; };
struct wire_change {
	uint64_t session; uint8_t kind; bool away; uint32_t busy; struct span client;
	struct wire_entry entry; /* its vnets and hot: in msg_changes.texts where decoded */
};
struct msg_changes {
	uint32_t watch; bool begin, end; uint64_t before, revision;
	struct wire_change items[LIMIT_CHANGES]; uint32_t count;
	struct span texts[LIMIT_SERVE_TEXTS];
};
