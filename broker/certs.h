/* broker/certs.h: from the files that the configuration names to what TLS connections are made of. main.c uses it at the start and at
 * each reload; nothing here runs in the path of a task. */
#pragma once

#include "config.h"

/* ERR_OK with *out NULL where no certificate is configured. ERR_IO, ERR_INVALID_INPUT: text says which file, and why. Reading and
 * checking takes some milliseconds, and the loop stands still for them. */
enum err certs_load(const struct config *c, struct tls_ctx **out, char text[256]) MUST_CHECK;
