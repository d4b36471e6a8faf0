/* file_worker URL TYPE [COUNT]: a file in, a file out, of any size. Answers every task with its payload, each byte turned into a capital.
 * file_worker URL TYPE submit FILE RESULT: submits a file and waits for the result as a file.
 *
 * The payload comes into a file while other tasks go on (hlk_payload_get); the result goes up before the task is settled (hlk_blob_put). */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../hillock.h"

struct job { struct hlk_task *task; char in[64], out[64]; };

static void job_end(struct job *job)
{
	(void)unlink(job->in);
	(void)unlink(job->out);
	free(job);
}

static int convert(const char *in, const char *out)
{
	FILE *from = fopen(in, "re"), *to = fopen(out, "we");
	int byte, good = from && to;
	while (good && (byte = getc(from)) != EOF)
		good = putc(toupper(byte), to) != EOF;
	good = good && !ferror(from);
	if (from)
		(void)fclose(from);
	if (to && fclose(to) != 0)
		good = 0;
	return good;
}

/* The result is at the broker. */
static void went(struct hlk *client, const struct hlk_blob_done *done, void *ctx)
{
	struct job *job = ctx;
	const struct hlk_payload result = { .kind = HLK_BLOB, .size = done->blob.size, .blob = done->blob };
	(void)client;
	if (done->code == HLK_OK)
		(void)hlk_complete_payload(job->task, &result);
	else if (done->code != HLK_CLOSED)
		(void)hlk_fail(job->task, HLK_TRANSIENT, 0, done->text, -1);
	job_end(job);
}

/* The payload is here. */
static void came(struct hlk *client, const struct hlk_blob_done *done, void *ctx)
{
	struct job *job = ctx;
	const struct hlk_blob_source source = { .path = job->out, .media_type = "text/plain" };
	if (done->code == HLK_OK && convert(job->in, job->out) && hlk_blob_put(client, &source, went, job, NULL) == HLK_OK)
		return;
	if (done->code != HLK_CLOSED)
		(void)hlk_fail(job->task, HLK_TRANSIENT, 0, done->code ? done->text : "the file could not be converted", -1);
	job_end(job);
}

static void on_task(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	struct job *job = calloc(1, sizeof *job);
	struct hlk_payload payload;
	(void)ctx;
	if (!job) {
		(void)hlk_fail(task, HLK_RESOURCE_EXHAUSTED, 0, "out of memory", -1);
		return;
	}
	job->task = task;
	(void)snprintf(job->in, sizeof job->in, "/tmp/file_worker.%d.%llu.in", (int)getpid(), (unsigned long long)info->id);
	(void)snprintf(job->out, sizeof job->out, "/tmp/file_worker.%d.%llu.out", (int)getpid(), (unsigned long long)info->id);
	const struct hlk_blob_sink sink = { .path = job->in };
	if (hlk_payload_of(client, info->kind, info->payload, info->size, &payload) == HLK_OK &&
	    hlk_payload_get(client, &payload, &sink, came, job, NULL) == HLK_OK)
		return;
	(void)hlk_fail(task, HLK_INVALID_INPUT, 0, hlk_last_error(client)->text, -1); /* a reference to what is kept elsewhere */
	job_end(job);
}

static int submit(struct hlk *client, const char *type, const char *file, const char *to)
{
	const struct hlk_blob_source source = { .path = file };
	const struct hlk_submit_options options = { .type = type, .want_result = true };
	struct hlk_payload payload = { .kind = HLK_BLOB };
	struct hlk_result result;
	unsigned long long size;
	uint64_t task;
	int code = hlk_blob_put_wait(client, &source, HLK_FOREVER, &payload.blob, NULL);
	if (code == HLK_OK)
		code = hlk_submit_payload_wait(client, &options, &payload, 10000, &task, NULL);
	if (code == HLK_OK)
		code = hlk_await_wait(client, task, HLK_FOREVER, &result);
	if (code == HLK_OK && result.code == HLK_OK)
		code = hlk_payload_of(client, result.kind, result.data, result.size, &payload);
	size = payload.size;
	if (code == HLK_OK)
		code = hlk_payload_file_wait(client, &payload, to, HLK_FOREVER);
	if (code != HLK_OK)
		return code;
	(void)printf("%s %llu\n", result.state, size);
	return HLK_OK;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	int submits = argc == 6 && strcmp(argv[3], "submit") == 0;
	if (!submits && argc != 3 && argc != 4) {
		(void)fprintf(stderr, "usage: file_worker URL TYPE [COUNT | submit FILE RESULT]\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "file_worker: %s\n", error.text);
		return 4;
	}
	const struct hlk_serve_options options = { .type = argv[2], .credit = 4, .task = on_task };
	int code = submits ? submit(client, argv[2], argv[4], argv[5])
			   : hlk_worker_run(client, &options, argc == 4 ? strtoull(argv[3], NULL, 10) : 0);
	if (code != HLK_OK)
		(void)fprintf(stderr, "file_worker: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 10000);
	return code == HLK_OK ? 0 : 5;
}
