/* clientlib/resolve.h: the look-up of a host's addresses in a thread of its own. Private. */
#pragma once

#include <stdbool.h>

struct addrinfo;
struct resolve_job;

/* Begins to look up a TCP address. When it is done, wake_fd (an eventfd) becomes readable. NULL: no thread or descriptor. */
struct resolve_job *resolve_start(const char *host, const char *port, int wake_fd);
/* False: not yet. Else the outcome of getaddrinfo, once; the addresses belong to the caller. */
bool resolve_done(struct resolve_job *job, int *result, struct addrinfo **addresses);
/* The caller is through with it, done or not. NULL is fine. */
void resolve_drop(struct resolve_job *job);
