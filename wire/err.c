/* wire/err.c: looks up the table of err.h. Constant data only; any thread may call it.
 *
 * 1. A code that is not in the table still has a name and a text, so a newer peer's code can be shown. */
#include "err.h"

#include "limits.h"

const char *err_name(uint32_t code)
{
	switch (code) {
#define X(name, number, retryable, text) \
	case number:                     \
		return #name;
		ERR_LIST(X)
#undef X
	default:
		return "UNKNOWN";
	}
}

const char *err_text(uint32_t code)
{
	switch (code) {
#define X(name, number, retryable, text) \
	case number:                     \
		return text;
		ERR_LIST(X)
#undef X
	default:
		return "an error code that is not known here";
	}
}

uint32_t err_retry_after_ms(uint32_t code)
{
	return code == ERR_QUEUE_FULL || code == ERR_DISK_FULL || code == ERR_RESOURCE_EXHAUSTED ? LIMIT_RETRY_MS : 0;
}

bool err_retryable(uint32_t code)
{
	switch (code) {
#define X(name, number, retryable, text) \
	case number:                     \
		return (retryable) != 0;
		ERR_LIST(X)
#undef X
	default:
		return false;
	}
}
