/* wire/base.h: the ground every other file stands on: checks that stay on, checked arithmetic,
 * and the attributes that make the compiler keep our rules. Header only; includes no other of ours.
 *
 * Three kinds of error never mix: the peer's fault (an answer, enum err), the world's fault (ERR_IO,
 * ERR_DISK_FULL: a documented reaction) and our own fault (ENSURE: stop at once, let the log replay). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* A broken invariant is safer as a restart than as a wrong answer, so this is on in every build.
 * Never use it on bytes that came from a peer or a disk. */
#define ENSURE(cond) (__builtin_expect(!!(cond), 1) ? (void)0 : ensure_failed(#cond, __FILE__, __LINE__))

__attribute__((noreturn, cold, unused)) static void ensure_failed(const char *cond,
								   const char *file, int line)
{
	(void)fprintf(stderr, "hillock: invariant broken: %s (%s:%d)\n", cond, file, line);
	abort();
}

/* Sizes that came from outside are added and multiplied only through these. They abort: the caller
 * has already refused anything above a limit of limits.h, so an overflow here is our own fault. */
static inline size_t size_add(size_t a, size_t b)
{
	size_t sum;
	ENSURE(!__builtin_add_overflow(a, b, &sum));
	return sum;
}

static inline size_t size_mul(size_t a, size_t b)
{
	size_t product;
	ENSURE(!__builtin_mul_overflow(a, b, &product));
	return product;
}

/* Rounds up to a power of two. */
static inline size_t align_up(size_t n, size_t power_of_two)
{
	return size_add(n, power_of_two - 1) & ~(power_of_two - 1);
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
