/* tools/doctor.c: `hillock doctor`: what an operator would look at, one row each, with what is wrong in words.
 *
 * Data flow: connection, questions of administration -> rows {check, state, detail} -> output. What may not be asked is skipped, and
 * says so.
 *
 * 1. It changes nothing.
 * 2. Exit 0: nothing failed; 3: something did; 4: nobody answered. */
#include "commands.h"

#include <inttypes.h>
#include <time.h>

enum { FIGURES_MAX = 192, SKEW_MS = 5000, EXPIRY_DAYS = 14, NEAR_PERCENT = 90 };

struct figure { char name[64]; double value; };
struct doctor {
	struct cli *cli;
	bool failed;
	struct figure figures[FIGURES_MAX];
	uint32_t figure_count;
	int stats_code;
	uint64_t broker_ms; /* its wall clock; 0 = not known */
	uint32_t queues, idle, dead_queues, full, near;
	uint64_t dead;
	char idle_name[256], dead_name[256], full_name[256], near_name[256];
	char principal[128];
};

PRINTF_LIKE(4, 5) static void row(struct doctor *d, const char *check, const char *state, const char *format, ...)
{
	char text[512];
	va_list list;
	va_start(list, format);
	(void)vsnprintf(text, sizeof text, format, list);
	va_end(list);
	json_t *object = json_object();
	cli_set(object, "check", json_string(check));
	cli_set(object, "state", json_string(state));
	cli_set(object, "detail", json_string(text));
	d->failed = d->failed || strcmp(state, "fail") == 0;
	output_row(&d->cli->out, object);
}

static const double *figure(const struct doctor *d, const char *name)
{
	for (uint32_t i = 0; i < d->figure_count; i++)
		if (strcmp(d->figures[i].name, name) == 0)
			return &d->figures[i].value;
	return NULL;
}

static void take_figure(const char *name, double value, void *ctx)
{
	struct doctor *d = ctx;
	if (d->figure_count == FIGURES_MAX)
		return;
	struct figure *f = &d->figures[d->figure_count++];
	(void)snprintf(f->name, sizeof f->name, "%s", name);
	f->value = value;
}

static void take_queue(const struct hlk_queue_row *q, void *ctx)
{
	struct doctor *d = ctx;
	d->queues++;
	if (q->ready > 0 && q->workers == 0 && !q->paused) {
		d->idle++;
		(void)snprintf(d->idle_name, sizeof d->idle_name, "%s", q->name);
	}
	if (q->dead > 0) {
		d->dead_queues++;
		d->dead += q->dead;
		(void)snprintf(d->dead_name, sizeof d->dead_name, "%s", q->name);
	}
	uint64_t length = q->ready + q->leased + q->scheduled;
	if (q->settings.length_max > 0 && length >= (uint64_t)q->settings.length_max / 100 * NEAR_PERCENT && length > 0) {
		d->full++;
		(void)snprintf(d->full_name, sizeof d->full_name, "%s", q->name);
	}
}

static void take_principal(const struct hlk_access_row *p, void *ctx)
{
	struct doctor *d = ctx;
	for (size_t i = 0; i < p->limit_count; i++)
		for (size_t k = 0; k < p->used_count; k++)
			if (strcmp(p->limits[i].name, p->used[k].name) == 0 && p->limits[i].value > 0 &&
			    p->used[k].value >= p->limits[i].value - p->limits[i].value / 10) {
				d->near++;
				(void)snprintf(d->near_name, sizeof d->near_name, "%s: %s %" PRIu64 " of %" PRIu64, p->name,
					       p->limits[i].name, p->used[k].value, p->limits[i].value);
			}
}

static void take_token(const struct hlk_access_row *t, void *ctx)
{
	struct doctor *d = ctx;
	(void)snprintf(d->principal, sizeof d->principal, "%s", t->name);
}

/* ---- the checks ---- */

/* CLI_OK, or what the exit code is to be when nothing more can be asked. */
static int look_reachable(struct doctor *d)
{
	struct hlk_error error = { .code = HLK_OK };
	struct cli *cli = d->cli;
	int code = hlk_open(&cli->connect, &cli->client, &error);
	if (code == HLK_OK && (code = hlk_ready_wait(cli->client, cli->timeout_ms)) != HLK_OK)
		error = *hlk_last_error(cli->client);
	bool tls = strncmp(cli->url, "tls://", 6) == 0;
	if (code == HLK_OK) {
		hlk_set_timeout(cli->client, cli->timeout_ms);
		row(d, "reachable", "ok", "%s answers: %s", cli->url, hlk_broker(cli->client));
		return CLI_OK;
	}
	bool answered = code == HLK_PERMISSION || code == HLK_SECURITY || code == HLK_RESOURCE_EXHAUSTED || code == HLK_BLOCKED;
	row(d, "reachable", answered ? "ok" : "fail", "%s: %s", cli->url, answered ? "somebody answers" : error.text);
	if (code == HLK_SECURITY && tls)
		row(d, "tls", "fail", "%s", error.text);
	else if (answered)
		row(d, "credentials", "fail", "%s", error.text);
	return answered ? CLI_PARTIAL : CLI_UNAVAILABLE;
}

static void look_version(struct doctor *d)
{
	const char *broker = hlk_broker(d->cli->client), *version = strrchr(broker, ' ');
	bool same = version && strcmp(version + 1, hlk_version()) == 0;
	row(d, "version", same ? "ok" : "warn", "the broker is %s, this is libhillock %s", broker, hlk_version());
}

static void look_credentials(struct doctor *d)
{
	int code = hlk_access_token(d->cli->client, 10000, take_token, d);
	if (code == HLK_OK)
		row(d, "credentials", "ok", "we are principal %s", d->principal);
	else if (code == HLK_WRONG_STATE)
		row(d, "credentials", "warn", "we are nobody in particular: the broker is open, or this is its own machine");
	else
		row(d, "credentials", "fail", "%s", hlk_error_text(code));
}

static void look_tls(struct doctor *d)
{
	const double *until = figure(d, "tls_certificate_expires_seconds");
	if (strncmp(d->cli->url, "tls://", 6) != 0) {
		bool local = strncmp(d->cli->url, "unix://", 7) == 0 || strstr(d->cli->url, "//127.") || strstr(d->cli->url, "//localhost") ||
			     strstr(d->cli->url, "//[::1]");
		row(d, "tls", local ? "ok" : "warn", local ? "not used, and not needed on this machine" : "not used: everybody on the way can read");
		return;
	}
	if (!until || *until <= 0) {
		row(d, "tls", "ok", "the chain is good; when it ends only an administrator may ask");
		return;
	}
	double days = (*until - (double)time(NULL)) / 86400;
	row(d, "tls", days < 1 ? "fail" : days < EXPIRY_DAYS ? "warn" : "ok", "the chain is good; the certificate ends in %.1f days", days);
}

static void look_clock(struct doctor *d)
{
	const double *seconds = figure(d, "time_seconds");
	if (!seconds) {
		row(d, "clock", "skip", "only an administrator may ask");
		return;
	}
	double skew = *seconds - (double)time(NULL);
	row(d, "clock", skew * 1000 > SKEW_MS || skew * 1000 < -SKEW_MS ? "warn" : "ok", "the broker's is %+.0f s from ours", skew);
}

static void look_disk(struct doctor *d)
{
	const double *left = figure(d, "log_disk_free_bytes"), *full = figure(d, "log_full"), *used = figure(d, "log_segment_bytes_on_disk");
	if (!left || !full || !used) {
		row(d, "disk", "skip", "only an administrator may ask");
		return;
	}
	bool few = *left < (double)(1ull << 30) || *left < *used / 10;
	row(d, "disk", *full > 0 ? "fail" : few ? "warn" : "ok", "%.1f GB are free, the log takes %.1f GB%s", *left / 1e9, *used / 1e9,
	    *full > 0 ? ": no new tasks are taken" : "");
}

static void look_memory(struct doctor *d)
{
	static const char *const states[] = { "ok", "warn", "warn", "fail" };
	const double *level = figure(d, "memory_level"), *cap = figure(d, "memory_cap_bytes"), *used = figure(d, "memory_used_bytes");
	if (!level || !cap || !used)
		row(d, "memory", "skip", "only an administrator may ask");
	else if (*cap <= 0)
		row(d, "memory", "ok", "%.0f MB are in use, there is no memory_cap", *used / 1e6);
	else
		row(d, "memory", states[MIN_OF((uint32_t)*level, 3u)], "%.0f MB of a memory_cap of %.0f MB are in use", *used / 1e6, *cap / 1e6);
}

static void look_limits(struct doctor *d)
{
	int code = hlk_principal_list(d->cli->client, NULL, take_principal, d);
	if (code != HLK_OK && d->full == 0)
		row(d, "limits", "skip", "only an administrator may ask for those of principals");
	else if (d->near > 0)
		row(d, "limits", "warn", "%u of principals are near: %s%s", d->near, d->near_name, d->near > 1 ? ", and others" : "");
	else if (d->full > 0)
		row(d, "limits", "warn", "%u queues are near their length_max: %s%s", d->full, d->full_name, d->full > 1 ? ", and others" : "");
	else
		row(d, "limits", "ok", "nobody is near one");
}

static void look_queues(struct doctor *d)
{
	int code = hlk_queue_list(d->cli->client, take_queue, d);
	if (code != HLK_OK) {
		row(d, "workers", "skip", "%s", hlk_error_text(code));
		return;
	}
	if (d->idle > 0)
		row(d, "workers", "warn", "%u queues have tasks and nobody who serves them: %s%s", d->idle, d->idle_name,
		    d->idle > 1 ? ", and others" : "");
	else
		row(d, "workers", "ok", "none of %u queues waits for somebody to serve it", d->queues);
	if (d->dead > 0)
		row(d, "dead letters", "warn", "%" PRIu64 " in %u queues: %s%s", d->dead, d->dead_queues, d->dead_name,
		    d->dead_queues > 1 ? ", and others" : "");
	else
		row(d, "dead letters", "ok", "none");
}

static int doctor_run(struct cli *cli)
{
	static const struct column columns[] = { { "check", "CHECK", COLUMN_TEXT }, { "state", "STATE", COLUMN_TEXT },
						 { "detail", "DETAIL", COLUMN_TEXT } };
	struct doctor *d = calloc(1, sizeof *d);
	ENSURE(d != NULL);
	d->cli = cli;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	int code = look_reachable(d);
	if (code == CLI_OK) {
		d->stats_code = hlk_stats(cli->client, take_figure, d);
		look_version(d);
		look_tls(d);
		look_credentials(d);
		look_clock(d);
		look_disk(d);
		look_memory(d);
		look_queues(d);
		look_limits(d);
		code = d->failed ? CLI_PARTIAL : CLI_OK;
	}
	output_end(&cli->out);
	free(d);
	return code;
}

const struct command doctor_command = {
	"doctor", NULL, "", 0, 0, "looks at what usually goes wrong, and says what to look at",
	"Reachable, TLS and the end of its certificate, credentials, clocks, versions, disk, memory, queues that nobody serves, dead letters,\n"
	"limits that are near. It changes nothing. Exit 0: nothing failed; 3: something did; 4: nobody answered.",
	"hillock doctor\tthe broker that is in use\nhillock doctor --context prod -o json\tfor a script", NULL, doctor_run,
};
