/* The look-up of names: the resolver of this program is its own, and answers when the test says so. */
#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>

#include "client_world.h"

#define SLOW_NAME "slow.test"
static sem_t entered, released, left;
static int outcome;

static bool sem_in_time(sem_t *sem)
{
	struct timespec end;
	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	return sem_timedwait(sem, &end) == 0;
}

/* Takes the place of the system's: SLOW_NAME is 127.0.0.1, but only once the test has released it. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	void *found = dlsym(RTLD_NEXT, "getaddrinfo");
	memcpy(&real, &found, sizeof real);
	if (strcmp(host, SLOW_NAME) != 0 || (hints->ai_flags & AI_NUMERICHOST))
		return real(host, port, hints, out);
	(void)sem_post(&entered);
	int result = !sem_in_time(&released) ? EAI_AGAIN : outcome ? outcome : real("127.0.0.1", port, hints, out);
	(void)sem_post(&left);
	return result;
}

static int set_up(void **state)
{
	(void)state;
	outcome = 0;
	return sem_init(&entered, 0, 0) | sem_init(&released, 0, 0) | sem_init(&left, 0, 0);
}

static void slow_url(const struct broker *b, char *out, size_t size)
{
	(void)snprintf(out, size, "tcp://" SLOW_NAME "%s", strrchr(b->url, ':'));
}

static void test_a_client_goes_on_while_the_resolver_does_not_answer(void **state)
{
	struct broker *b = broker_tcp();
	struct log log = { .results = 0 };
	char url[128];
	(void)state;
	slow_url(b, url, sizeof url);
	struct hlk *c = open_client(url);
	assert_int_equal(hlk_await(c, 1, 1, on_result, &log), HLK_OK);
	UNTIL(c, log.results == 1); /* its deadline passes meanwhile */
	assert_true(sem_in_time(&entered));
	assert_int_not_equal(sem_trywait(&left), 0);
	assert_false(hlk_connected(c));
	(void)sem_post(&released);
	welcome(b, c, false, 60000);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_client_can_be_closed_while_the_resolver_does_not_answer(void **state)
{
	struct broker *b = broker_tcp();
	char url[128];
	(void)state;
	slow_url(b, url, sizeof url);
	struct hlk *c = open_client(url);
	UNTIL(c, sem_trywait(&entered) == 0);
	assert_int_equal(hlk_ready_wait(c, 1), HLK_TIMEOUT);
	hlk_close(c, 0);
	assert_int_not_equal(sem_trywait(&left), 0); /* it still looks, and nobody wants to know */
	(void)sem_post(&released);
	assert_true(sem_in_time(&left));
	broker_free(b);
}

static void test_a_name_that_is_unknown_is_named_and_the_next_node_is_tried(void **state)
{
	struct broker *b = broker_unix();
	char urls[300];
	(void)state;
	outcome = EAI_NONAME;
	for (int i = 0; i < 1000; i++)
		(void)sem_post(&released);
	struct hlk *c = open_client("tcp://" SLOW_NAME);
	UNTIL(c, hlk_ready_wait(c, 0) == HLK_NETWORK);
	assert_non_null(strstr(hlk_last_error(c)->text, SLOW_NAME ": "));
	hlk_close(c, 0);
	(void)snprintf(urls, sizeof urls, "tcp://" SLOW_NAME ",%s", b->url);
	c = open_client(urls);
	welcome(b, c, false, 60000);
	hlk_close(c, 0);
	broker_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_client_goes_on_while_the_resolver_does_not_answer, set_up),
		cmocka_unit_test_setup(test_a_client_can_be_closed_while_the_resolver_does_not_answer, set_up),
		cmocka_unit_test_setup(test_a_name_that_is_unknown_is_named_and_the_next_node_is_tried, set_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
