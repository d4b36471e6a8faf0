/* wire/banned.h: put in front of every C file by the build. These calls have caused enough damage. */
#ifndef HILLOCK_BANNED_H
#define HILLOCK_BANNED_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef alloca /* a macro in glibc, and macros are poisoned with a warning */
#pragma GCC poison strcpy strcat strncat sprintf vsprintf gets strtok alloca
#endif
