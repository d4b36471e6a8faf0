/* broker/offline.c: fsck and dump: reading a data directory while no broker runs on it.
 *
 * In the flow: none. Everything is read through struct io and nothing is written.
 *
 * The words of fsck are for an operator in trouble: what is wrong, where, and what would be lost. */
#include "offline.h"

#include "note.h"
#include "tasks.h"

static const char no_store[] = "NOT_FOUND: there is no store in this directory\n";

static void print_line(void *ctx, const char *text)
{
	(void)fprintf((FILE *)ctx, "%s\n", text);
}

enum err offline_fsck(struct io *io, FILE *out)
{
	struct log_check check = { .segments = 0 };
	enum err blobs, e = offline_check(io, &check, print_line, out, &blobs);
	if (e == ERR_OK || e == ERR_DAMAGED)
		(void)fprintf(out, "segments=%llu batches=%llu records=%llu bytes=%llu damaged_batches=%llu torn_bytes=%llu "
				   "missing_files=%llu\n",
			      (unsigned long long)check.segments, (unsigned long long)check.batches,
			      (unsigned long long)check.records, (unsigned long long)check.bytes,
			      (unsigned long long)check.damaged_batches, (unsigned long long)check.torn_bytes,
			      (unsigned long long)check.missing_files);
	if (e == ERR_OK && blobs != ERR_OK)
		(void)fprintf(out, "%s: blobs that the log knows of are not there as they should be; tasks and all else are\n", err_name(blobs));
	else if (e == ERR_OK && check.torn_bytes > 0)
		(void)fprintf(out, "ok: the torn end was never confirmed; the next start cuts it\n");
	else if (e == ERR_OK)
		(void)fprintf(out, "ok\n");
	else if (e == ERR_NOT_FOUND)
		(void)fputs(no_store, out);
	else
		(void)fprintf(out, "%s: %s%s\n", err_name(e), err_text(e),
			      check.would_lose_confirmed ? "; confirmed tasks would be lost" : "");
	return e == ERR_OK ? blobs : e;
}

static const char *kind_name(uint16_t kind)
{
	switch ((enum record_kind)kind) {
	case REC_QUEUE: return "queue";
	case REC_SUBMIT: return "submit";
	case REC_SETTLE: return "settle";
	case REC_REDRIVE: return "redrive";
	case REC_PURGE: return "purge";
	case REC_MOVE: return "move";
	case REC_TYPE: return "type";
	case REC_TOPIC: return "topic";
	case REC_EVENT: return "event";
	case REC_RETAIN: return "retain";
	case REC_ACCESS: return "access";
	case REC_LEASE: return "lease";
	case REC_YIELD: return "yield";
	case REC_SCHEDULE: return "schedule";
	case REC_SECRET: return "secret";
	case REC_REDRIVES: return "redrives";
	case REC_GROUP: return "group";
	case REC_BLOCK: return "block";
	case REC_BLOB: return "blob";
	}
	return "unknown";
}

static void dump_record(void *ctx, const struct log_entry *entry, const struct log_record *record)
{
	FILE *out = ctx;
	(void)fprintf(out, "index=%llu term=%llu time_ms=%llu segment=%u offset=%llu kind=%s bytes=%zu",
		      (unsigned long long)entry->index, (unsigned long long)entry->term,
		      (unsigned long long)entry->time_ms, log_addr_segment(record->addr),
		      (unsigned long long)log_addr_offset(record->addr), kind_name(record->kind), record->body.len);
	struct submit_record submit;
	struct task_head head;
	char why[128];
	if ((record->kind == REC_SUBMIT || record->kind == REC_MOVE || record->kind == REC_EVENT) &&
	    submit_record_open(record, &submit) == ERR_OK && task_head_decode(submit.head, &head, why) == ERR_OK) {
		char type[2 * NOTE_TEXT_BYTES];
		(void)note_escape(head.type, type, sizeof type);
		(void)fprintf(out, " tasks=%u type=%s payload_bytes=%zu", submit.count, type, submit.payload.len);
	}
	(void)fputc('\n', out);
}

enum err offline_dump(struct io *io, FILE *out)
{
	enum err e = log_walk_dir(io, dump_record, out);
	if (e == ERR_NOT_FOUND)
		(void)fputs(no_store, out);
	else if (e != ERR_OK)
		(void)fprintf(out, "%s: %s\n", err_name(e), err_text(e));
	return e;
}
