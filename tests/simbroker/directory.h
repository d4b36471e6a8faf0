/* tests/simbroker/directory.h: holders of a responsibility that answer, leave and vanish; a caller with pending calls, a watch and a
 * reservation. What is checked:
 *
 *  promise 5  each call has exactly one last answer by its deadline and a bound, while its connection lasts
 *  promise 9  an entry leaves at once with a goodbye, and when its grace is over otherwise (looked at when nothing else fails); who
 *             has a call with that holder hears NOT_DELIVERED at once
 *  watch      every CHANGES goes on from the revision before; the directory rebuilt from them is the broker's
 *  calls      no call is handed out twice, an answer is the one that its holder gave, and nothing comes after the last answer
 *  bindings   the state says how many legs there are; legs are different and, in quiet, alive; what is broken is healed */
#pragma once

#include "link.h"

enum { HOLDERS = 3, CALLS_MAX = 400, MODEL_MAX = 16, DIRECTORY_BOUND_MS = 6000 };

struct holder_sim;

struct sim_call_state {
	uint64_t sent_ns, deadline_ns;
	uint32_t generation;        /* of the connection it was made on */
	uint32_t asked;             /* how often a holder got it */
	uint64_t holder;            /* the session that got it */
	bool answered, late;        /* late: its holder answers after the deadline */
};

struct model_entry { uint64_t session; uint32_t id; bool away; };
struct model { struct model_entry at[MODEL_MAX]; uint32_t count; uint64_t revision; bool whole, complete; };

struct directory_caller;

struct directory {
	struct scene *scene;
	struct holder_sim *holders[HOLDERS];
	struct directory_caller *caller;
	struct sim_call_state calls[CALLS_MAX];
	uint32_t call_count;
};

struct holder_sim *holder_sim_new(struct directory *d, uint32_t number);
struct link *holder_sim_link(struct holder_sim *h);
/* Answers nothing from now on, so that calls stay with it. */
void holder_sim_mute(struct holder_sim *h, bool mute);

struct directory_caller *directory_caller_new(struct directory *d);
bool directory_caller_idle(struct directory_caller *c);
const char *directory_caller_waits(struct directory_caller *c);
