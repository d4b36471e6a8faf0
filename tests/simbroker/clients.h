/* tests/simbroker/clients.h: producers and workers for the simulated world. They speak the wire protocol by themselves (not
 * through clientlib, which owns real sockets), keep what the protocol makes them keep, and misbehave on purpose. */
#pragma once

#include "ledger.h"
#include "scene.h"

struct producer;
struct worker;
struct inspector;

struct producer *producer_new(struct scene *scene, uint32_t number);
/* No submission is waiting for its answer. */
bool producer_idle(const struct producer *p);
struct sim_peer *producer_peer(struct producer *p);
void producer_free(struct producer *p);

struct worker *worker_new(struct scene *scene, uint32_t number, uint32_t credit);
/* Holds no task and has no report without an answer. */
bool worker_idle(const struct worker *w);
struct sim_peer *worker_peer(struct worker *w);
void worker_free(struct worker *w);

/* Asks the broker about the queue, then about each task that is confirmed and not settled. */
struct inspector *inspector_new(struct scene *scene);
/* True when the last answer said that nothing waits, is leased or is delayed. */
bool inspector_drained(const struct inspector *i);
/* What the queue held when it was looked at last. */
const char *inspector_text(const struct inspector *i);
/* True when every open task has been asked about (after the drain). */
bool inspector_done(const struct inspector *i);
void inspector_free(struct inspector *i);
