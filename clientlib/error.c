/* clientlib/error.c: what went wrong, in a form for people and for programs. In the flow: beside it.
 *
 * 1. The code decides kind and retryable; the text says what and where, and is never parsed. */
#include <stdarg.h>

#include "client_impl.h"

static enum hlk_error_kind kind_of(int code)
{
	switch (code) {
	case HLK_OK: return HLK_KIND_NONE;
	case HLK_TIMEOUT: return HLK_KIND_TIMEOUT;
	case HLK_NETWORK: return HLK_KIND_NETWORK;
	case HLK_SECURITY:
	case HLK_PERMISSION: return HLK_KIND_AUTH;
	case ERR_MALFORMED:
	case ERR_UNKNOWN_KIND:
	case ERR_VERSION:
	case ERR_NOT_READY:
	case ERR_INTEGRITY_MISMATCH: return HLK_KIND_PROTOCOL;
	case HLK_AGAIN:
	case HLK_INVALID_INPUT:
	case HLK_TOO_BIG:
	case HLK_CLOSED:
	case HLK_MEMORY: return HLK_KIND_USAGE;
	default: return HLK_KIND_REFUSED;
	}
}

__attribute__((format(printf, 3, 0))) static void fill(struct hlk_error *error, int code, const char *format, va_list args)
{
	error->code = code;
	error->kind = kind_of(code);
	error->retryable = err_retryable((uint32_t)code);
	(void)vsnprintf(error->text, sizeof error->text, format, args);
}

int error_set(struct hlk *c, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fill(&c->error, code, format, args);
	va_end(args);
	return code;
}

void error_fill(struct hlk_error *error, int code, const char *format, ...)
{
	va_list args;
	if (!error)
		return;
	va_start(args, format);
	fill(error, code, format, args);
	va_end(args);
}

const struct hlk_error *hlk_last_error(const struct hlk *c)
{
	return &c->error;
}

const char *hlk_error_name(int code)
{
	return err_name((uint32_t)code);
}

const char *hlk_error_text(int code)
{
	return err_text((uint32_t)code);
}

const char *hlk_version(void)
{
	return HILLOCK_VERSION;
}
