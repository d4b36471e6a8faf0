/* clientlib/producer_spill.c: submissions whose payload is a blob or a reference. In the flow: hlk_submit -> SPILL -> an upload ->
 * the frame that has kept its place in producer.c.
 *
 * 1. The copy of a payload is kept until its task is confirmed: a blob that was collected before is uploaded again, once or twice.
 * 2. A broker that wants it as a blob though it would fit in a frame (SPILL: the queue says so) gets it as a new submission; the head
 *    remembers the size. */
#include "blob_impl.h"

enum { SPILL_TRIES = 3 };

struct spilled_task {
	struct buf payload;              /* what goes up */
	uint32_t transfer, tries;
};

void producer_spill_free(struct hlk *c, struct submit_frame *f)
{
	struct spilled_task *s = f->spilled;
	if (!s)
		return;
	f->spilled = NULL;
	blob_forget(c, s->transfer); /* it reads the payload no more */
	c->producer.spilled_bytes -= s->payload.len;
	buf_free(&s->payload);
	free(s);
}

static void uploaded(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct submit_frame *f = ctx;
	struct spilled_task *s = f->spilled;
	struct buf head = { 0 };
	struct blob_ref ref;
	s->transfer = 0;
	if (done->code != HLK_OK) {
		char text[MAP_ERROR_TEXT];
		(void)snprintf(text, sizeof text, "the payload could not be uploaded: %.400s", done->text);
		const struct hlk_confirmed answer = { .code = done->code, .text = text };
		producer_answer(c, f, f->first_seq, &answer);
		(void)producer_more(c); /* what waited behind it */
		report_spill_drain(c);
		return;
	}
	spill_task_head(buf_span(&f->head->bytes), PAYLOAD_BLOB, &head);
	producer_ready(c, f, buf_span(&head), spill_ref(&done->blob, &ref));
	buf_free(&head);
}

static void upload(struct hlk *c, struct submit_frame *f)
{
	struct spilled_task *s = f->spilled;
	s->tries++;
	s->transfer = put_memory(c, buf_span(&s->payload), false, uploaded, f);
}

static void spill(struct hlk *c, struct submit_frame *f, struct span payload)
{
	struct spilled_task *s = calloc(1, sizeof *s);
	ENSURE(s != NULL);
	buf_append(&s->payload, payload.data, payload.len);
	c->producer.spilled_bytes += payload.len;
	f->spilled = s;
	upload(c, f);
}

int producer_spill(struct hlk *c, struct hlk_head *head, const void *payload, size_t size, hlk_submit_fn *fn, void *ctx)
{
	uint64_t under_way = c->producer.spilled_bytes;
	if (under_way > 0 && under_way + size > SPILL_BYTES_MAX)
		return error_set(c, HLK_AGAIN, "submit: %llu bytes of payloads are being uploaded", (unsigned long long)under_way);
	spill(c, producer_frame(c, head, fn, ctx), span_of(payload, size));
	return HLK_OK;
}

/* ---- refused for what it was sent as ---- */

/* One task of a frame: its head and its payload. Borrows the frame. */
static bool find_task(const struct submit_frame *f, uint64_t seq, struct msg *msg, struct span *payload)
{
	struct frame frame;
	size_t used, need, at = 0;
	char text[128];
	enum err e = frame_decode(buf_span(&f->bytes), LIMIT_FRAME_BYTES, &frame, &used, &need, text);
	if (e == ERR_OK)
		e = msg_decode(&frame, msg, text);
	if (e != ERR_OK)
		return false;
	for (uint32_t i = 0; i < seq - f->first_seq; i++)
		at += msg->submit.sizes.at[i];
	*payload = span_sub(frame.payload, at, msg->submit.sizes.at[seq - f->first_seq]);
	return true;
}

/* A new submission with the same callback; the old one is resolved without a word. */
static bool spill_one(struct hlk *c, struct submit_frame *f, uint64_t seq)
{
	struct producer *p = &c->producer;
	struct msg *msg = calloc(1, sizeof *msg);
	struct slot *slot = &p->slots[seq & p->mask];
	struct span payload;
	ENSURE(msg != NULL);
	bool good = !c->closing && p->next_seq - p->resolved_below <= p->mask && c->session.blob_above > 0 &&
		    find_task(f, seq, msg, &payload);
	if (good) {
		const struct slot taken = *slot;
		struct hlk_head *head = f->head;
		struct buf kept = { 0 };
		uint32_t above = atomic_load(&head->above);
		buf_append(&kept, payload.data, payload.len);
		atomic_fetch_add(&head->refs, 1);
		if (!above || above >= payload.len)
			atomic_store(&head->above, (uint32_t)MAX_OF(payload.len, (size_t)2) - 1);
		slot->fn = NULL;
		producer_answer(c, f, seq, &(struct hlk_confirmed){ .code = HLK_SPILL, .text = "" });
		spill(c, producer_frame(c, head, taken.fn, taken.ctx), buf_span(&kept));
		hlk_head_free(head);
		buf_free(&kept);
	}
	free(msg);
	return good;
}

bool producer_spill_again(struct hlk *c, struct submit_frame *f, uint64_t seq, const struct confirm_run *run)
{
	struct spilled_task *s = f->spilled;
	if (run->code == ERR_SPILL && !s)
		return spill_one(c, f, seq);
	if (run->code != ERR_NOT_FOUND || !s || s->transfer || s->tries >= SPILL_TRIES)
		return false;
	f->held = true; /* what is behind it has been sent: only new ones wait */
	c->producer.held_count++;
	upload(c, f);
	return true;
}

/* ---- payloads that are at the broker, or elsewhere ---- */

int hlk_submit_payload(struct hlk *c, struct hlk_head *head, const struct hlk_payload *payload, hlk_submit_fn *fn, void *ctx)
{
	struct buf bytes = { 0 }, with_kind = { 0 };
	if (payload->kind == HLK_INLINE)
		return hlk_submit(c, head, payload->data, (size_t)payload->size, fn, ctx);
	int code = producer_check(c, head);
	if (code == HLK_OK && !spill_encode(c, payload, "submit", &bytes))
		code = c->error.code;
	if (code == HLK_OK) {
		spill_task_head(buf_span(&head->bytes), (uint8_t)payload->kind, &with_kind);
		producer_ready(c, producer_frame(c, head, fn, ctx), buf_span(&with_kind), buf_span(&bytes));
	}
	buf_free(&bytes);
	buf_free(&with_kind);
	return code;
}
