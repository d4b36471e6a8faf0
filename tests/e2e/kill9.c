/* tests/e2e/kill9.c: real processes, real disk, kill -9 at a random moment, a ledger of what was confirmed.
 *
 *	kill9 HILLOCKD DIR [--runs N] [--seed S] [--load-ms N]
 *
 * Each run: a producer and a worker at full speed against a broker of its own on DIR (kept from run to run); after a random time the broker
 * is killed with -9 and started again; load goes on a little, then stops, and the queue is drained. Held against it:
 *   - every confirmed task was handed out, with the payload that was submitted;
 *   - no task's completion was accepted under two different tokens, none was handed out after it was acknowledged;
 *   - nothing was handed out that was not submitted.
 * Prints one line per run and how to repeat. Exit status 0 only when every run held. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../clientlib/hillock.h"
#include "../../wire/base.h"

enum { SERIALS_MAX = 1 << 23, PAYLOAD = 128 };

struct fate {
	_Atomic uint8_t confirmed, handled, settled;
};

struct run {
	struct fate *fates;            /* by serial */
	uint64_t *serial_of;           /* by task id - first_task */
	_Atomic uint64_t first_task;
	_Atomic uint64_t submitted, confirmed, refused, handled, settled, refused_reports;
	_Atomic bool stop_producing, stop_working;
	_Atomic int violations;
	char url[64];
	uint64_t salt;
};

static void violation(struct run *r, const char *what, uint64_t serial)
{
	if (atomic_fetch_add(&r->violations, 1) < 5)
		(void)fprintf(stderr, "VIOLATION: %s (serial %llu)\n", what, (unsigned long long)serial);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fill(const struct run *r, uint64_t serial, uint8_t out[PAYLOAD])
{
	uint64_t words[PAYLOAD / 8];
	for (uint64_t i = 0; i < PAYLOAD / 8; i++)
		words[i] = (serial + 1) * 0x9e3779b97f4a7c15u ^ r->salt * (i + 1);
	words[0] = serial;
	words[1] = r->salt;
	memcpy(out, words, PAYLOAD);
}

/* ---- producer ---- */

struct submitted { struct run *run; uint64_t serial; };

static void on_confirm(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx)
{
	(void)c;
	struct run *r = ((struct submitted *)ctx)->run;
	uint64_t serial = ((struct submitted *)ctx)->serial;
	if (confirmed->code == HLK_OK) {
		atomic_fetch_add(&r->confirmed, 1);
		atomic_store(&r->fates[serial].confirmed, 1);
	} else if (confirmed->code != HLK_CLOSED) {
		atomic_fetch_add(&r->refused, 1);
	}
}

static void *produce(void *arg)
{
	struct run *r = arg;
	struct hlk_error error;
	struct hlk *c = NULL;
	struct hlk_options options = { .url = r->url, .name = "kill9-producer", .window = 8192 };
	ENSURE(hlk_open(&options, &c, &error) == 0);
	struct hlk_submit_options so = { .type = "kill9.v1.Task" };
	struct hlk_head *head = hlk_head_new(&so, &error);
	struct submitted *all = calloc(SERIALS_MAX, sizeof *all);
	ENSURE(head && all);
	uint64_t serial = 0;
	while (!atomic_load(&r->stop_producing) && serial < SERIALS_MAX) {
		uint8_t payload[PAYLOAD];
		fill(r, serial, payload);
		all[serial] = (struct submitted){ r, serial };
		int e = hlk_submit(c, head, payload, PAYLOAD, on_confirm, &all[serial]);
		if (e == HLK_AGAIN)
			(void)hlk_run(c, 10);
		else if (e == HLK_OK)
			atomic_store(&r->submitted, ++serial);
		else
			violation(r, hlk_last_error(c)->text, serial);
	}
	for (uint64_t until = now_ns() + 60000000000u; hlk_unconfirmed(c) > 0 && now_ns() < until;)
		(void)hlk_run(c, 10);
	if (hlk_unconfirmed(c) > 0)
		violation(r, "submissions without an answer after 60 s", hlk_unconfirmed(c));
	hlk_close(c, 1000);
	hlk_head_free(head);
	free(all);
	return NULL;
}

/* ---- worker ---- */

static void on_task(struct hlk *c, struct hlk_task *task, void *ctx)
{
	(void)c;
	struct run *r = ctx;
	const struct hlk_task_info *info = hlk_task_info(task);
	uint64_t serial = UINT64_MAX;
	uint8_t want[PAYLOAD];
	if (info->size == PAYLOAD)
		memcpy(&serial, info->payload, 8);
	if (serial >= SERIALS_MAX) {
		violation(r, "handed out what nobody submitted", serial);
		(void)hlk_complete(task, NULL, 0);
		return;
	}
	fill(r, serial, want);
	if (memcmp(want, info->payload, PAYLOAD) != 0)
		violation(r, "payload differs", serial);
	if (atomic_load(&r->first_task) == 0)
		atomic_store(&r->first_task, info->id > SERIALS_MAX / 2 ? info->id - SERIALS_MAX / 2 : 1);
	uint64_t at = info->id - atomic_load(&r->first_task);
	if (at >= 2u * SERIALS_MAX) {
		violation(r, "task id out of all bounds", serial);
		(void)hlk_complete(task, NULL, 0);
		return;
	}
	r->serial_of[at] = serial;
	if (atomic_load(&r->fates[serial].settled))
		violation(r, "handed out after its completion was acknowledged", serial);
	if (atomic_exchange(&r->fates[serial].handled, 1) == 0)
		atomic_fetch_add(&r->handled, 1);
	(void)hlk_complete(task, NULL, 0);
}

static void on_settled(struct hlk *c, uint64_t task, uint32_t attempt, int code, void *ctx)
{
	(void)c;
	(void)attempt;
	struct run *r = ctx;
	if (code != HLK_OK) {
		atomic_fetch_add(&r->refused_reports, 1);
		return;
	}
	uint64_t serial = r->serial_of[task - atomic_load(&r->first_task)];
	if (atomic_fetch_add(&r->fates[serial].settled, 1) != 0)
		violation(r, "completed twice", serial);
	atomic_fetch_add(&r->settled, 1);
}

static void *work(void *arg)
{
	struct run *r = arg;
	struct hlk_error error;
	struct hlk *c = NULL;
	struct hlk_options options = { .url = r->url, .name = "kill9-worker" };
	ENSURE(hlk_open(&options, &c, &error) == 0);
	hlk_on_settled(c, on_settled, r);
	struct hlk_serve_options so = { .type = "kill9.v1.Task", .credit = 4096, .task = on_task, .ctx = r };
	ENSURE(hlk_serve(c, &so, NULL) == 0);
	while (!atomic_load(&r->stop_working))
		(void)hlk_run(c, 10);
	hlk_close(c, 2000);
	return NULL;
}

/* ---- broker ---- */

static pid_t broker_start(const char *hillockd, const char *dir, uint16_t port)
{
	char url[64];
	(void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", port);
	pid_t pid = fork();
	ENSURE(pid >= 0);
	if (pid == 0) {
		int log = open("/dev/null", O_WRONLY);
		if (log >= 0 && !getenv("KILL9_VERBOSE"))
			(void)dup2(log, 2);
		(void)execl(hillockd, hillockd, "--data", dir, "--listen", url, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static void broker_kill(pid_t pid, int sig)
{
	int status;
	(void)kill(pid, sig);
	ENSURE(waitpid(pid, &status, 0) == pid);
}

static void pause_ms(uint64_t ms)
{
	(void)poll(NULL, 0, (int)ms);
}

struct counted { uint64_t open; };

static void count_open(const struct hlk_queue_row *row, void *ctx)
{
	((struct counted *)ctx)->open = row->ready + row->leased + row->scheduled;
}

/* Waits until the queue is empty, through another client. */
static bool drained(struct run *r)
{
	struct hlk *c = NULL;
	struct hlk_error error;
	if (hlk_connect(r->url, 20000, &c, &error) != 0) {
		(void)fprintf(stderr, "the broker does not answer: %s\n", error.text);
		return false;
	}
	struct counted counted = { 1 };
	for (uint64_t until = now_ns() + 60000000000u; counted.open > 0 && now_ns() < until;) {
		if (hlk_queue_show(c, "kill9.v1.Task", count_open, &counted) == HLK_NOT_FOUND)
			counted.open = 0;
		pause_ms(10);
	}
	hlk_close(c, 1000);
	return counted.open == 0;
}

static int one_run(const char *hillockd, const char *dir, unsigned number, uint64_t seed, unsigned load_ms, uint16_t port)
{
	struct run *r = calloc(1, sizeof *r);
	ENSURE(r);
	r->fates = calloc(SERIALS_MAX, sizeof *r->fates);
	r->serial_of = calloc(2u * SERIALS_MAX, sizeof *r->serial_of);
	ENSURE(r->fates && r->serial_of);
	r->salt = seed * 1000003 + number;
	(void)snprintf(r->url, sizeof r->url, "tcp://127.0.0.1:%u", port);
	unsigned random = (unsigned)(r->salt * 2654435761u);
	pid_t broker = broker_start(hillockd, dir, port);
	pthread_t producer, worker;
	ENSURE(pthread_create(&producer, NULL, produce, r) == 0);
	ENSURE(pthread_create(&worker, NULL, work, r) == 0);
	for (int i = 0; i < 2000 && atomic_load(&r->confirmed) == 0; i++)
		pause_ms(5);
	pause_ms(20 + random % load_ms);
	broker_kill(broker, SIGKILL);
	uint64_t confirmed_before = atomic_load(&r->confirmed);
	broker = broker_start(hillockd, dir, port);
	for (int i = 0; i < 4000 && atomic_load(&r->confirmed) == confirmed_before; i++)
		pause_ms(5);
	pause_ms(random % 50);
	atomic_store(&r->stop_producing, true);
	(void)pthread_join(producer, NULL);
	if (!drained(r))
		violation(r, "the queue does not drain", 0);
	atomic_store(&r->stop_working, true);
	(void)pthread_join(worker, NULL);
	broker_kill(broker, SIGTERM);
	uint64_t lost = 0;
	for (uint64_t s = 0; s < atomic_load(&r->submitted); s++)
		if (atomic_load(&r->fates[s].confirmed) && !atomic_load(&r->fates[s].handled) && lost++ == 0)
			violation(r, "confirmed and never handed out", s);
	int bad = atomic_load(&r->violations);
	(void)printf("run %u: submitted %llu, confirmed %llu (%llu before the kill), handed out %llu, settled %llu, "
		     "refused reports %llu, lost %llu: %s\n", number, (unsigned long long)atomic_load(&r->submitted),
		     (unsigned long long)atomic_load(&r->confirmed), (unsigned long long)confirmed_before,
		     (unsigned long long)atomic_load(&r->handled), (unsigned long long)atomic_load(&r->settled),
		     (unsigned long long)atomic_load(&r->refused_reports), (unsigned long long)lost, bad ? "BAD" : "ok");
	(void)fflush(stdout);
	if (confirmed_before == 0) {
		(void)fprintf(stderr, "run %u: no load before the kill, so it proves nothing\n", number);
		bad++;
	}
	free(r->fates);
	free(r->serial_of);
	free(r);
	return bad;
}

int main(int argc, char **argv)
{
	unsigned runs = 5, load_ms = 700;
	uint64_t seed = 1;
	if (argc < 3) {
		(void)fprintf(stderr, "usage: kill9 HILLOCKD DIR [--runs N] [--seed S] [--load-ms N]\n");
		return 1;
	}
	for (int i = 3; i + 1 < argc; i += 2) {
		unsigned long long value = strtoull(argv[i + 1], NULL, 10);
		if (strcmp(argv[i], "--runs") == 0)
			runs = (unsigned)value;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = value;
		else if (strcmp(argv[i], "--load-ms") == 0)
			load_ms = value > 0 ? (unsigned)value : 1;
	}
	uint16_t port = (uint16_t)(20000 + (unsigned)getpid() % 20000);
	int bad = 0;
	for (unsigned n = 0; n < runs && bad == 0; n++) {
		bad += one_run(argv[1], argv[2], n, seed, load_ms, port);
		if (bad)
			(void)fprintf(stderr, "repeat: kill9 %s DIR --seed %llu --runs %u --load-ms %u\n", argv[1],
				      (unsigned long long)seed, n + 1, load_ms);
	}
	(void)printf("%u passed, %d failed\n", bad ? runs - 1 : runs, bad ? 1 : 0);
	return bad ? 1 : 0;
}
