/* sensor URL ROOM COUNT [watch]: publishes the temperature of a room, and keeps the last one for those who come later. With `watch` it
 * prints what sensors say instead: first the last value of each room, then COUNT new ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static const char TYPE[] = "room.v1.Temperature";

static void on_reading(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	int *left = ctx;
	(void)c;
	(void)printf("%s %s %.*s\n", e->retained ? "last" : "now", e->key, (int)e->size, (const char *)e->payload);
	(void)fflush(stdout);
	*left -= !e->retained;
}

static int watch(struct hlk *c, int count)
{
	int left = count;
	const struct hlk_subscribe_options options = { .pattern = "room.*", .retained = true, .event = on_reading, .ctx = &left };
	int code = hlk_subscribe_wait(c, &options, 5000, NULL);
	while (code == HLK_OK && left > 0)
		code = hlk_run(c, 1000);
	return code;
}

static int measure(struct hlk *c, const char *room, int count)
{
	struct hlk_error error;
	const struct hlk_topic_options options = { .type = TYPE, .key = room, .retain = true };
	struct hlk_topic *topic = hlk_topic_new(c, &options, &error);
	int code = topic ? HLK_OK : error.code;
	for (int i = 0; code == HLK_OK && i < count; i++) {
		struct hlk_published published;
		char text[32];
		int size = snprintf(text, sizeof text, "%.1f", 20 + i * 0.5);
		code = hlk_publish_wait(c, topic, text, (size_t)size, 5000, &published); /* kept when this returns */
	}
	hlk_topic_free(topic);
	return code;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	if (argc < 4 || argc > 5) {
		(void)fprintf(stderr, "usage: sensor URL ROOM COUNT [watch]\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "sensor: %s\n", error.text);
		return 4;
	}
	int count = atoi(argv[3]);
	int code = argc == 5 && strcmp(argv[4], "watch") == 0 ? watch(client, count) : measure(client, argv[2], count);
	if (code != HLK_OK)
		(void)fprintf(stderr, "sensor: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 1000);
	return code == HLK_OK ? 0 : 5;
}
