/* wire/name.h: what a queue may be called, the same for the broker and for its double in the client library. */
#pragma once

#include "span.h"

/* False with the reason in text: 1 to 255 letters, digits, '.', '_' and '-', not beginning with a dot. */
bool queue_name_ok(struct span name, char text[256]);
/* The same for the name under which the broker keeps one: of a vnet other than "default" it is VNET/NAME. */
bool queue_full_name_ok(struct span name, char text[256]);
