/* broker/config.c and config_value.c: what a config file may say, and what is refused with which words. */
#include "../../broker/config.h"
#include "../../broker/config_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct fixture {
	struct config config;
	char text[CONFIG_TEXT];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	assert_non_null(f);
	config_init(&f->config);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	config_free(&f->config);
	free(f);
	return 0;
}

static enum err read_text(struct fixture *f, const char *content)
{
	enum err e = config_read(&f->config, "h.conf", span_str(content), f->text);
	return e == ERR_OK ? config_check(&f->config, f->text) : e;
}

/* The text must begin with the file's name and end as told. */
static void assert_refused(struct fixture *f, const char *content, const char *where_and_why)
{
	config_free(&f->config);
	config_init(&f->config);
	assert_int_equal(read_text(f, content), ERR_INVALID_INPUT);
	assert_memory_equal(f->text, "h.conf", 6);
	assert_string_equal(f->text + 6, where_and_why);
}

static void defaults_are_valid_and_listen_on_loopback(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(config_check(&f->config, f->text), ERR_OK);
	assert_int_equal(f->config.listen_count, 1);
	assert_string_equal(f->config.listen[0], "tcp://127.0.0.1:4333");
}

static void values_with_units_are_taken(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(read_text(f, "# a comment\nheartbeat = 2s\nsegment_size=128MiB\nspin = 2ms\n"
				      "auto_create = false\nnode = \"lab 1\"\nqueue_expires = 7d\nlog_level = debug\n"),
			 ERR_OK);
	assert_int_equal(f->config.heartbeat_ms, 2000);
	assert_int_equal(f->config.segment_bytes, 128 << 20);
	assert_int_equal(f->config.spin_us, 2000);
	assert_int_equal(f->config.auto_create, 0);
	assert_string_equal(f->config.node, "lab 1");
	assert_int_equal(f->config.queue_expires_ms, 7ull * 86400000);
	assert_int_equal(f->config.log_level, 3);
}

static void listen_takes_one_address_or_a_list_and_replaces_the_default(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(read_text(f, "listen = {\"tcp://[::1]:9\", \"unix:///tmp/x\"}\n"), ERR_OK);
	assert_int_equal(f->config.listen_count, 2);
	assert_string_equal(f->config.listen[1], "unix:///tmp/x");
	assert_int_equal(read_text(f, "listen = \"tcp://127.0.0.1:0\"\n"), ERR_OK);
	assert_int_equal(f->config.listen_count, 1);
}

static void a_mistake_names_file_line_and_what_would_be_right(void **state)
{
	struct fixture *f = *state;
	assert_refused(f, "heartbeat = 1s\nbeat = 3\n", ":2: no such option 'beat'");
	assert_refused(f, "heartbeat = 1s\n\nheartbeat = 2s\n", ":3: heartbeat is set twice, first in line 1");
	assert_refused(f, "\nheartbeat = 1\n",
		       ":2: heartbeat: '1' is not a duration such as 500ms, 30s, 5m, 24h or 7d");
	assert_refused(f, "cache_size = 64MB\n",
		       ":1: cache_size: '64MB' is not a size such as 64MiB, 512KiB, 1GiB or 100B");
	assert_refused(f, "auto_create = yes\n", ":1: auto_create: 'yes' is not true or false");
	assert_refused(f, "conns_max = 0\n", ":1: conns_max: '0' is out of range: 1 to 1000000");
	assert_refused(f, "conns_max = -1\n", ":1: conns_max: '-1' is not a whole number");
	assert_refused(f, "conns_max = 99999999999999999999999\n",
		       ":1: conns_max: '99999999999999999999999' is not a whole number");
	assert_refused(f, "listen = \"http://x\"\n",
		       ":1: listen: 'http://x' is not tcp://HOST:PORT, tls://HOST:PORT or unix://PATH");
	assert_refused(f, "listen = {}\n", ": listen: at least one value is needed");
	assert_refused(f, "node = \"\"\n", ":1: node: must be 1 to 4096 bytes long");
	assert_refused(f, "node = \"never closed\n", ":2: premature end of file");
}

static void values_that_contradict_each_other_are_refused(void **state)
{
	struct fixture *f = *state;
	assert_refused(f, "\nsegment_size = 10MiB\n", ":2: segment_size: must be at least twice batch_size");
	assert_refused(f, "recv_buffers = 1000\n", ":1: recv_buffers: must be a power of two");
	assert_refused(f, "segment_size = 67108865B\n", ":1: segment_size: must be a multiple of 4KiB");
	assert_refused(f, "queue_backoff_max = 10ms\n",
		       ":1: queue_backoff_max: must not be below queue_backoff_min");
}

static void comments_do_not_shift_the_line_numbers(void **state)
{
	struct fixture *f = *state;
	assert_refused(f, "# one\n// two\nx = 1\n", ":3: no such option 'x'");
	assert_refused(f, "/* a\n # b */ node = a # c \"\n/**/x = 1\n", ":3: no such option 'x'");
	assert_refused(f, "/*/ still a comment\n*/x = 1\n", ":2: no such option 'x'");
	assert_refused(f, "node = \"a # b\\\" /* \"\nx = 1\n", ":2: no such option 'x'");
	assert_int_equal(read_text(f, "# only\nnode = \"a # b\" // c"), ERR_OK);
	assert_string_equal(f->config.node, "a # b");
}

static void what_is_not_a_text_file_is_refused(void **state)
{
	struct fixture *f = *state;
	char *big = calloc(1, CONFIG_FILE_BYTES_MAX + 1);
	assert_non_null(big);
	const char *text = "h.conf: not a text file of at most 1MiB";
	assert_int_equal(config_read(&f->config, "h.conf", span_of("a\0b", 3), f->text), ERR_INVALID_INPUT);
	assert_string_equal(f->text, text);
	memset(big, ' ', CONFIG_FILE_BYTES_MAX + 1);
	assert_int_equal(config_read(&f->config, "h.conf", span_of(big, CONFIG_FILE_BYTES_MAX + 1), f->text),
			 ERR_INVALID_INPUT);
	assert_string_equal(f->text, text);
	free(big);
}

static void the_command_line_wins_and_its_first_listen_replaces(void **state)
{
	struct fixture *f = *state;
	struct config *c = &f->config;
	assert_int_equal(config_set(c, "listen", "tcp://127.0.0.1:1", true, f->text), ERR_OK);
	assert_int_equal(config_set(c, "listen", "tcp://127.0.0.1:2", false, f->text), ERR_OK);
	assert_int_equal(c->listen_count, 2);
	assert_int_equal(config_set(c, "data", "/d", false, f->text), ERR_OK);
	assert_string_equal(c->data, "/d");
	assert_int_equal(config_set(c, "log_level", "loud", false, f->text), ERR_INVALID_INPUT);
	assert_string_equal(f->text, "log_level: 'loud' is not error, warn, info or debug");
}

static void the_printed_manual_reads_back_to_the_same_settings(void **state)
{
	struct fixture *f = *state;
	struct config *c = &f->config;
	assert_int_equal(config_set(c, "node", "a \"b\" \\ $x", false, f->text), ERR_OK);
	assert_int_equal(config_set(c, "heartbeat", "1500ms", false, f->text), ERR_OK);
	char *first = NULL, *second = NULL;
	size_t first_len, second_len;
	FILE *out = open_memstream(&first, &first_len);
	assert_non_null(out);
	config_print(c, out);
	assert_int_equal(fclose(out), 0);
	config_free(c);
	config_init(c);
	assert_int_equal(read_text(f, first), ERR_OK);
	out = open_memstream(&second, &second_len);
	assert_non_null(out);
	config_print(c, out);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(first, second);
	assert_string_equal(c->node, "a \"b\" \\ $x");
	free(first);
	free(second);
}

static void every_number_is_formatted_so_that_it_parses_back(void **state)
{
	(void)state;
	static const enum config_type types[] = { CONFIG_INT, CONFIG_SIZE, CONFIG_MS, CONFIG_US };
	uint64_t value = 1;
	for (size_t step = 0; step < 2000; step++) {
		for (size_t i = 0; i < COUNT_OF(types); i++) {
			char form[32], text[256];
			uint64_t back = 0;
			uint64_t try = step % 2 ? value : value >> 20 << 20;
			config_value_format(types[i], try, form);
			assert_int_equal(config_value_parse(types[i], form, &back, text), ERR_OK);
			assert_true(back == try);
		}
		value = value * 6364136223846793005ull + 1442695040888963407ull;
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(defaults_are_valid_and_listen_on_loopback),
		T(values_with_units_are_taken),
		T(listen_takes_one_address_or_a_list_and_replaces_the_default),
		T(a_mistake_names_file_line_and_what_would_be_right),
		T(values_that_contradict_each_other_are_refused),
		T(comments_do_not_shift_the_line_numbers),
		T(what_is_not_a_text_file_is_refused),
		T(the_command_line_wins_and_its_first_listen_replaces),
		T(the_printed_manual_reads_back_to_the_same_settings),
		T(every_number_is_formatted_so_that_it_parses_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
