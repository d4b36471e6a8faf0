/* wire/banned.h: put in front of every C file by the build. These calls have caused enough damage. */
#ifndef HILLOCK_BANNED_H
#define HILLOCK_BANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* Some are macros of libc (alloca; with clang and _FORTIFY_SOURCE others too), and macros are not poisoned quietly. */
#undef alloca
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat strncat sprintf vsprintf gets strtok alloca
#endif
