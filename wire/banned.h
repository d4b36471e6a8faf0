/* wire/banned.h: put in front of every C file by the build. These calls have caused enough damage. */
#ifndef HILLOCK_BANNED_H
#define HILLOCK_BANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HILLOCK_WOLFSSL /* its headers name some of them in macros, so they are read first */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#endif
/* Some are macros of libc (alloca; with clang and _FORTIFY_SOURCE others too), and macros are not poisoned quietly. */
#undef alloca
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat strncat sprintf vsprintf gets strtok alloca
#endif
