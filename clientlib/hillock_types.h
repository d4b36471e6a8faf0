/* hillock_types.h: the part of hillock.h about the registry of types. Included by it; programs include hillock.h. */
#ifndef HILLOCK_TYPES_H
#define HILLOCK_TYPES_H

#include "hillock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- types (blocking, as administration) */

/* What is NULL or empty stays as it is. */
struct hlk_type_spec {
	const void *schema; size_t schema_size; /* a .bfbs: what `flatc -b --schema` writes; add --bfbs-builtins for nested buffers */
	const char *root;                       /* its root table; default: the file's root_type */
	const char *policy;                     /* "open", "fingerprint", "verify" */
	const char *alias, *parent;             /* one more name; the type whose subscribers get this one, too */
	const char *answers;                    /* calls of it: "one" answer, or "stream": in parts. Said once, then part of the type: a
	                                         * call that asks for the other is refused with HLK_SCHEMA_MISMATCH. Default: either */
};
/* Makes a type or changes it. HLK_INCOMPATIBLE names the field that would break programs. */
HLK_API int hlk_type_register(struct hlk *c, const char *name, const struct hlk_type_spec *spec);

struct hlk_type_row {
	const char *name, *root, *parent, *policy;
	const char *const *aliases; size_t alias_count;
	const uint64_t *fingerprints; size_t fingerprint_count; /* the first is that of the newest schema */
	const void *schema; size_t schema_size;                 /* hlk_type_show only */
	uint64_t registered_ms, changed_ms;
	const char *answers;                                    /* "one", "stream"; "": either */
};
typedef void hlk_type_fn(const struct hlk_type_row *row, void *ctx); /* borrowed until return */
HLK_API int hlk_type_list(struct hlk *c, hlk_type_fn *each, void *ctx);
HLK_API int hlk_type_show(struct hlk *c, const char *name, hlk_type_fn *each, void *ctx);
/* Is this a payload of the type? HLK_SCHEMA_MISMATCH names the path of the field. */
HLK_API int hlk_type_check(struct hlk *c, const char *name, const void *payload, size_t size);
/* May this schema take the place of the registered one? HLK_INCOMPATIBLE lists the differences. */
HLK_API int hlk_type_diff(struct hlk *c, const char *name, const void *schema, size_t size, const char *root);
HLK_API int hlk_type_remove(struct hlk *c, const char *name); /* with its aliases; or one alias */
/* The fingerprint for hlk_submit_options, without a broker. *error may be NULL. */
HLK_API int hlk_fingerprint(const char *name, const void *schema, size_t size, const char *root, uint64_t *out,
			    struct hlk_error *error);

#ifdef __cplusplus
}
#endif

#endif
