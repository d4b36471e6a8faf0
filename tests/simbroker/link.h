/* tests/simbroker/link.h: what every simulated client has: a session that is dialled again and again, frames in, frames out. */
#pragma once

#include "clients.h"

struct link {
	struct scene *scene;
	struct link *next;                                  /* of all in the scene */
	void *owner;
	void (*up)(void *owner, bool resumed);              /* WELCOME came */
	void (*frame)(void *owner, const struct msg *m, const struct frame *f);
	void (*down)(void *owner);
	struct sim_peer *peer;
	struct buf in;
	uint8_t session[16];
	bool welcome, ever, closing;
	uint64_t address;                                   /* the session's number */
	uint64_t frozen_ns;                                 /* a paused process: until then nothing moves */
	uint32_t epoch, heartbeat_ms, generation;
	uint64_t heard_ns;
	const char *name, *vnet;    /* vnet NULL: the default one */
	const char *token;          /* NULL: the scene's */
};

void link_open(struct link *l, struct scene *scene, const char *name, void *owner);
void link_new_session(struct link *l);
void link_send(struct link *l, const struct msg *m, const struct span *payload, uint32_t payload_count);
void link_send_as(struct link *l, const struct msg *m, uint32_t correlation, const struct span *payload, uint32_t payload_count);
/* Drops the connection (reset) and dials again soon. */
void link_cut(struct link *l);
/* Says GOODBYE and comes back soon as somebody else. */
void link_leave(struct link *l);
/* Neither side hears of the other for this long: the process is stopped and goes on later. */
void link_freeze(struct link *l, uint64_t ns);
void link_close(struct link *l);
