/* clientlib/client.c: the client as a whole: opening, closing, one step, and waiting for the next. In the flow: around it.
 *
 *   hlk_process: net_step (connect, read, callbacks) -> timers -> flush -> arm the timer
 *
 * 1. One descriptor, an epoll set with socket, timer and wake-up inside, stands for everything that can become due.
 * 2. After every step the timer is armed for the earliest deadline; what is due without a deadline arms it for now.
 * 3. Every blocking call is a loop over client_wait with its own condition and deadline. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "client_impl.h"

int64_t client_now(struct hlk *c)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	c->now_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
	return c->now_ms;
}

uint64_t client_random(struct hlk *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random;
}

uint32_t client_correlation(struct hlk *c)
{
	if (++c->correlation == 0)
		c->correlation = 1;
	return c->correlation;
}

int64_t client_deadline(struct hlk *c, int timeout_ms)
{
	return timeout_ms < 0 ? INT64_MAX : client_now(c) + timeout_ms;
}

static bool random_fill(void *out, size_t size)
{
	return getrandom(out, size, 0) == (ssize_t)size;
}

static char *name_or_process(const char *name)
{
	return strndup(name && *name ? name : program_invocation_short_name, LIMIT_NAME_BYTES);
}

static bool watch(struct hlk *c, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
	return fd >= 0 && epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static int open_descriptors(struct hlk *c, struct hlk_error *error)
{
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->epoll_fd >= 0 && watch(c, c->timer_fd) && watch(c, c->wake_fd))
		return HLK_OK;
	error_fill(error, HLK_RESOURCE_EXHAUSTED, "a client needs four descriptors: %s", strerror(errno));
	return HLK_RESOURCE_EXHAUSTED;
}

static void set_options(struct hlk *c, const struct hlk_options *o)
{
	c->backoff_min_ms = o->backoff_min_ms ? o->backoff_min_ms : 50;
	c->backoff_max_ms = o->backoff_max_ms ? o->backoff_max_ms : 5000;
	c->backoff_max_ms = MAX_OF(c->backoff_max_ms, c->backoff_min_ms);
	c->state = o->state;
	c->state_ctx = o->ctx;
	c->timeout_ms = 10000;
	c->producer.window = o->window ? MIN_OF(o->window, (uint32_t)LIMIT_PRODUCER_WINDOW) : 8192;
	c->producer.window_now = c->producer.window;
	c->producer.next_seq = c->producer.resolved_below = 1;
	c->session.payload_max = LIMIT_PAYLOAD_BYTES;
	c->session.frame_payload_max = LIMIT_FRAME_PAYLOAD;
	c->results.next_deadline_ms = c->blobs.due_ms = INT64_MAX;
	c->events.last = &c->events.first;
	c->caller.next_deadline_ms = INT64_MAX;
	c->caller.next = c->caller.sent_below = 1;
	if (o->session) {
		memcpy(c->session.id, o->session, sizeof c->session.id);
		c->session.known = true;
	}
}

static void free_client(struct hlk *c)
{
	net_free(c);
	const int fds[] = { c->epoll_fd, c->timer_fd, c->wake_fd };
	for (size_t i = 0; i < COUNT_OF(fds); i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	explicit_bzero(c->session.id, sizeof c->session.id);
	free(c->name);
	token_set(c, NULL, 0);
	free(c->token_file);
	free(c->vnet);
	free(c->session.node);
	free(c->session.broker);
	free(c->identity);
	mock_free(c->mock);
	free(c);
}

static int start(struct hlk *c, const struct hlk_options *o, struct hlk_error *error)
{
	int code = open_descriptors(c, error);
	if (code == HLK_OK)
		code = net_parse_urls(c, o->url, error);
	if (code != HLK_OK)
		return code;
	c->name = name_or_process(o->name);
	c->token = o->token ? strdup(o->token) : NULL;
	c->token_file = o->token_file ? strdup(o->token_file) : NULL;
	c->vnet = o->vnet ? strdup(o->vnet) : NULL;
	code = net_tls_options(c, o, error);
	if (code != HLK_OK)
		return code;
	c->identity = o->identity ? strdup(o->identity) : NULL;
	c->force = o->force;
	if (!c->name || (o->token && !c->token) || (o->token_file && !c->token_file) || (o->vnet && !c->vnet)) {
		error_fill(error, HLK_MEMORY, "out of memory");
		return HLK_MEMORY;
	}
	if (c->vnet && strlen(c->vnet) > LIMIT_NAME_BYTES) {
		error_fill(error, HLK_INVALID_INPUT, "options.vnet: longer than %d bytes", LIMIT_NAME_BYTES);
		return HLK_INVALID_INPUT;
	}
	if (c->token && strlen(c->token) > 2048) { /* HELLO must fit what a broker reads before it knows us */
		error_fill(error, HLK_INVALID_INPUT, "options.token: longer than 2048 bytes");
		return HLK_INVALID_INPUT;
	}
	if (!random_fill(&c->random, sizeof c->random) || !random_fill(&c->producer.id, sizeof c->producer.id) ||
	    (!o->session && !random_fill(c->session.id, sizeof c->session.id))) {
		error_fill(error, HLK_RESOURCE_EXHAUSTED, "no random bytes: %s", strerror(errno));
		return HLK_RESOURCE_EXHAUSTED;
	}
	c->random |= 1; /* neither may be 0 */
	c->producer.id |= 1;
	return HLK_OK;
}

static void arm(struct hlk *c);

int hlk_open(const struct hlk_options *options, struct hlk **out, struct hlk_error *error)
{
	*out = NULL;
	if (error)
		*error = (struct hlk_error){ 0 };
	struct hlk *c = calloc(1, sizeof *c);
	if (!c) {
		error_fill(error, HLK_MEMORY, "out of memory");
		return HLK_MEMORY;
	}
	c->epoll_fd = c->timer_fd = c->wake_fd = c->link.fd = -1;
	c->armed_ms = INT64_MAX;
	set_options(c, options);
	int code = start(c, options, error);
	if (code != HLK_OK) {
		free_client(c);
		return code;
	}
	c->link.due_ms = client_now(c); /* the first hlk_process dials */
	arm(c);
	*out = c;
	return HLK_OK;
}

int hlk_connect(const char *url, int timeout_ms, struct hlk **out, struct hlk_error *error)
{
	const struct hlk_options options = { .url = url };
	int code = hlk_open(&options, out, error);
	if (code != HLK_OK)
		return code;
	code = hlk_ready_wait(*out, timeout_ms);
	if (code == HLK_OK)
		return HLK_OK;
	if (error)
		*error = (*out)->error;
	hlk_close(*out, 0);
	*out = NULL;
	return code;
}

int hlk_ready_wait(struct hlk *c, int timeout_ms)
{
	int code = client_may_block(c);
	int64_t deadline = client_deadline(c, timeout_ms);
	while (code == HLK_OK && !net_ready(c)) {
		if (c->session.refused_code)
			return error_set(c, c->session.refused_code, "%s", c->session.last_text);
		code = client_wait(c, deadline);
	}
	return code;
}

static bool closing_waits(const struct hlk *c)
{
	return c->producer.unresolved > 0 || c->events.unanswered > 0 || c->worker.undone > 0 || c->worker.item_count > 0 ||
	       c->worker.spills;
}

void hlk_close(struct hlk *c, int timeout_ms)
{
	if (!c)
		return;
	ENSURE(!c->in_step); /* not from a callback */
	c->closing = true;
	int64_t deadline = client_deadline(c, timeout_ms);
	worker_retire(c);
	while (closing_waits(c) && client_wait(c, deadline) == HLK_OK)
		;
	c->in_step = true;
	blob_close(c, true);
	producer_close(c, true);
	results_close(c, true);
	caller_close(c, true);
	if (net_ready(c)) {
		const struct msg bye = { .kind = FRAME_GOODBYE, .goodbye = { .text = span_str("closed") } };
		session_send(c, &bye, 0);
		net_write(c);
	}
	net_close(c);
	holder_close(c);
	worker_close(c);
	directory_close(c);
	binding_close(c);
	caller_close(c, false);
	producer_close(c, false); /* what the last callbacks added */
	results_close(c, false);
	subscribe_close(c);
	publish_close(c);
	blob_close(c, false);
	shape_close(c);
	free_client(c);
}

int hlk_fd(struct hlk *c)
{
	return c->epoll_fd;
}

bool hlk_connected(const struct hlk *c)
{
	return net_ready(c);
}

void hlk_wake(struct hlk *c)
{
	const uint64_t one = 1;
	int saved = errno;
	ssize_t written = write(c->wake_fd, &one, sizeof one); /* full means that a wake-up is due anyway */
	(void)written;
	errno = saved;
}

void client_touch(struct hlk *c)
{
	if (!c->in_step)
		hlk_wake(c);
}

static void drain(int fd)
{
	uint64_t count;
	ssize_t got = read(fd, &count, sizeof count);
	(void)got;
}

static void arm(struct hlk *c)
{
	int64_t due = MIN_OF(net_next_due(c), MIN_OF(c->results.next_deadline_ms, c->caller.next_deadline_ms));
	if (net_ready(c))
		due = MIN_OF(due, c->blobs.due_ms);
	if (c->worker.serve_again_ms && net_ready(c))
		due = MIN_OF(due, c->worker.serve_again_ms);
	if (c->worker.again_ms)
		due = MIN_OF(due, c->worker.again_ms);
	bool written = c->producer.none_frames > 0 && c->producer.held_count == 0 && net_ready(c) && c->link.out.len == 0 && !net_full(c);
	if (c->due || written || c->worker.dropped_count > 0 || c->producer.head || c->worker.item_count > 0 || c->events.topic)
		due = 0;
	if (due == c->armed_ms)
		return;
	c->armed_ms = due;
	struct itimerspec spec = { .it_value = { 0 } };
	if (due != INT64_MAX && due <= c->now_ms) {
		spec.it_value.tv_nsec = 1; /* in the past: at once */
	} else if (due != INT64_MAX) {
		spec.it_value.tv_sec = due / 1000;
		spec.it_value.tv_nsec = due % 1000 * 1000000 + 1;
	}
	(void)timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void client_flush(struct hlk *c)
{
	producer_flush(c);
	worker_flush(c);
	results_flush(c);
	subscribe_flush(c);
	publish_flush(c);
	directory_flush(c);
	binding_flush(c);
	caller_flush(c);
	holder_flush(c);
	blob_flush(c); /* behind all else, and only as much as the socket takes */
	net_write(c);
}

int hlk_flush(struct hlk *c)
{
	client_flush(c);
	arm(c);
	return HLK_OK;
}

int hlk_process(struct hlk *c)
{
	if (c->in_step)
		return error_set(c, HLK_WRONG_STATE, "hlk_process is not for callbacks: they run inside it");
	c->in_step = true;
	drain(c->wake_fd);
	if (c->armed_ms <= client_now(c)) {
		drain(c->timer_fd);
		c->armed_ms = -1; /* has fired: whatever comes next is armed anew */
	}
	c->due = false;
	net_step(c);
	client_now(c);
	net_timers(c);
	results_timers(c);
	caller_timers(c);
	report_timers(c);
	blob_step(c);
	client_flush(c);
	producer_written(c);
	c->in_step = false;
	arm(c);
	return HLK_OK;
}

int hlk_run(struct hlk *c, int timeout_ms)
{
	if (c->in_step)
		return error_set(c, HLK_WRONG_STATE, "hlk_run is not for callbacks: they run inside it");
	client_flush(c);
	client_now(c);
	arm(c);
	struct epoll_event events[4];
	(void)epoll_wait(c->epoll_fd, events, COUNT_OF(events), timeout_ms);
	return hlk_process(c);
}

int client_may_block(struct hlk *c)
{
	if (c->in_step)
		return error_set(c, HLK_WRONG_STATE, "blocking calls are not for callbacks");
	return HLK_OK;
}

int client_wait(struct hlk *c, int64_t deadline_ms)
{
	int64_t left = deadline_ms == INT64_MAX ? -1 : deadline_ms - client_now(c);
	if (deadline_ms != INT64_MAX && left <= 0) {
		if (net_ready(c))
			return error_set(c, HLK_TIMEOUT, "the deadline has passed");
		return error_set(c, c->session.last_code ? c->session.last_code : HLK_TIMEOUT, "%s",
				 c->session.last_text[0] ? c->session.last_text : "not connected in time");
	}
	return hlk_run(c, (int)MIN_OF(left, 60000));
}

void hlk_set_timeout(struct hlk *c, int timeout_ms)
{
	c->timeout_ms = timeout_ms;
}
