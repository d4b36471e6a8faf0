/* clientlib/holder_impl.h: a call that this session answers, as holder.c and fetch.c see it. Private. */
#pragma once

#include "client_impl.h"

/* An answer, or a part of one, that waits for its upload or for one before it. */
struct spilled_answer {
	struct spilled_answer *next;
	struct hlk_call *call;
	uint32_t transfer;               /* 0: it is up, or needs not go up */
	enum hlk_payload_kind kind;
	bool more;
	struct buf data;
};

struct hlk_call {
	struct hlk *client;
	struct hlk_call *prev, *next;
	struct delivery *delivery;
	struct entry *entry;
	uint64_t number;                 /* at the broker */
	uint32_t connection;
	bool cancelled, answered;        /* answered: by the program; what it said still waits */
	uint32_t fetch;                  /* the transfer that brings its payload; until then the handler does not know of it */
	struct buf fetched;
	struct spilled_answer *spills;
	void *ctx;
	struct hlk_call_info info;
	char address[HLK_ADDRESS_BYTES];
};

/* False: the handler may be called. Else it is called later, or the call was refused. */
bool fetch_call(struct hlk *c, struct hlk_call *call);
