/* tests/install/consumer.c: a program of somebody who installed Hillock: a task there and back, without a broker. */
#include <hillock.h>

#include <stdio.h>
#include <string.h>

/* Names that a program may well have, and that the library has inside, too. */
unsigned long crc32c(const char *text);
void net_close(void);
const char *err_name(int code);

unsigned long crc32c(const char *text)
{
	return strlen(text);
}

void net_close(void)
{
}

const char *err_name(int code)
{
	return code ? "mine" : "none";
}

int main(void)
{
	net_close();
	if (crc32c("12345678") != 8 || strcmp(err_name(1), "mine") != 0)
		return 1;
	if (strcmp(hlk_version(), "0.1.0") != 0) {
		(void)fprintf(stderr, "version %s\n", hlk_version());
		return 1;
	}
	(void)puts(hlk_error_name(HLK_QUEUE_FULL));
	return strcmp(hlk_error_name(HLK_QUEUE_FULL), "QUEUE_FULL") == 0 ? 0 : 1;
}
