/* broker/backend.h: from the settings to where the bytes of blobs are. main.c uses it at the start; nothing here runs in the path of a
 * task. */
#pragma once

#include "config.h"
#include "sandbox.h"

#include "../storage/blob.h"

/* Opens what blob_backend names for the store of that number; *out NULL: there are no blobs. ERR_INVALID_INPUT: settings, or a build
 * that lacks it; ERR_IO. text says which. Credentials are read here. */
enum err backend_open(const struct config *c, struct io *io, struct blob_backend **out, char text[256]) MUST_CHECK;
/* Lets it go to work, behind the sandbox: its thread inherits that. ERR_OK, or ERR_IO with text. */
enum err backend_start(const struct config *c, struct blob_backend *b, uint64_t store, char text[256]) MUST_CHECK;

enum { BACKEND_PATHS = 16 };
/* What it needs of the file system once it is at work; how many. `dirs` keeps names made here: room for two. */
uint32_t backend_paths(const struct config *c, char dirs[2][LIMIT_TEXT_BYTES], struct sandbox_path out[BACKEND_PATHS]);
/* The directory that a path is in. */
void backend_dir_of(const char *path, char out[LIMIT_TEXT_BYTES]);
