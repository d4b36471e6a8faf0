/* tests/simbroker/scene.c: see scene.h. */
#include "scene.h"

#include <stdarg.h>

const char *mark_text(enum mark mark)
{
#define MARK_TEXT(name, text) [MARK_##name] = text,
	static const char *const texts[MARK_COUNT] = { MARKS(MARK_TEXT) };
	return texts[mark];
}

void scene_violate(struct scene *sc, const char *fmt, ...)
{
	if (sc->violation[0])
		return;
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(sc->violation, sizeof sc->violation, fmt, args);
	va_end(args);
}
