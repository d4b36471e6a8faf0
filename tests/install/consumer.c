/* tests/install/consumer.c: a program of somebody who installed Hillock: a task there and back, without a broker. */
#include <hillock.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
	if (strcmp(hlk_version(), "0.1.0") != 0) {
		(void)fprintf(stderr, "version %s\n", hlk_version());
		return 1;
	}
	(void)puts(hlk_error_name(HLK_QUEUE_FULL));
	return strcmp(hlk_error_name(HLK_QUEUE_FULL), "QUEUE_FULL") == 0 ? 0 : 1;
}
