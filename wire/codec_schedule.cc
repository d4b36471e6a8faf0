// wire/codec_schedule.cc: schedules in REQUEST.spec and REPLY.specs: a FlatBuffer of its own inside of them.
// In the flow: frame -> VERIFY -> administration, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"
extern "C" {
#include "check.h"
}

static_assert(sizeof(struct zone_change) == sizeof(hw::ZoneChange), "the same layout");

static enum err read(const hw::ScheduleInfo *m, struct schedule_info *out, char *text)
{
	out->name = text_of(m->name());
	out->cron = text_of(m->cron());
	out->zone_name = text_of(m->zone_name());
	out->every_ms = m->every_ms();
	out->at_ms = m->at_ms();
	out->overlap = m->overlap();
	out->misfire = m->misfire();
	out->head = bytes_of(m->head());
	out->payload = bytes_of(m->payload());
	out->paused = m->paused();
	out->created_ms = m->created_ms();
	out->next_ms = m->next_ms();
	out->last_ms = m->last_ms();
	out->last_task = m->last_task();
	out->fired_total = m->fired_total();
	out->skipped_total = m->skipped_total();
	out->last_code = m->last_code();
	out->zone_count = m->zone() ? m->zone()->size() : 0;
	if (out->zone_count > ZONE_CHANGES_MAX)
		return msg_refuse(text, ERR_TOO_BIG, "ScheduleInfo.zone: %u changes are over the limit of %d", out->zone_count,
				  int(ZONE_CHANGES_MAX));
	if (out->zone_count > 0)
		memcpy(out->zone, m->zone()->Data(), out->zone_count * sizeof out->zone[0]);
	return ERR_OK;
}

static enum err check_zone(const struct schedule_info *s, char text[128])
{
	for (uint32_t i = 0; i < s->zone_count; i++) {
		int64_t from = s->zone[i].from_s, offset = s->zone[i].offset_s;
		bool ascending = i == 0 || from > s->zone[i - 1].from_s;
		if (!ascending || from < -(int64_t(1) << 40) || from > int64_t(1) << 40 || offset < -86400 || offset > 86400)
			return msg_refuse(text, ERR_INVALID_INPUT, "ScheduleInfo.zone[%u]: not ascending or out of range", i);
	}
	return ERR_OK;
}

static enum err check_values(const struct schedule_info *s, char text[128])
{
	struct cron cron;
	struct task_head head;
	enum err e = check_length("ScheduleInfo.name", s->name, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("ScheduleInfo.zone_name", s->zone_name, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("ScheduleInfo.cron", s->cron, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("ScheduleInfo.head", s->head, LIMIT_HEAD_BYTES, text);
	if (e == ERR_OK)
		e = check_length("ScheduleInfo.payload", s->payload, SCHEDULE_BYTES_MAX, text);
	if (e == ERR_OK && (s->overlap >= OVERLAPS || s->misfire >= MISFIRES))
		e = msg_refuse(text, ERR_INVALID_INPUT, "ScheduleInfo: overlap %u or misfire %u is not one of the values", s->overlap,
			       s->misfire);
	if (e == ERR_OK && s->cron.len > 0)
		e = cron_parse(s->cron, &cron, text);
	if (e == ERR_OK && s->head.len > 0)
		e = task_head_decode(s->head, &head, text);
	return e == ERR_OK ? check_zone(s, text) : e;
}

extern "C" enum err schedule_info_decode(struct span bytes, struct schedule_info *out, char text[128])
{
	enum err e = verify_and_read<hw::ScheduleInfo>(bytes, "ScheduleInfo", out, text, read);
	return e == ERR_OK ? check_values(out, text) : e;
}

extern "C" void schedule_info_encode(struct buf *out, const struct schedule_info *s)
{
	heap memory;
	builder b(512, &memory);
	ENSURE(s->zone_count <= ZONE_CHANGES_MAX);
	fb::Offset<fb::Vector<const hw::ZoneChange *>> zone;
	if (s->zone_count > 0)
		zone = b.CreateVectorOfStructs(reinterpret_cast<const hw::ZoneChange *>(s->zone), s->zone_count);
	if (s->head.len > 0)
		b.ForceVectorAlignment(s->head.len, 1, 8);
	auto head = put_bytes(b, s->head);
	auto payload = put_bytes(b, s->payload);
	auto name = put_text(b, s->name);
	auto cron = put_text(b, s->cron);
	auto zone_name = put_text(b, s->zone_name);
	b.Finish(hw::CreateScheduleInfo(b, name, cron, s->every_ms, s->at_ms, zone_name, zone, s->overlap, s->misfire, head, payload,
					s->paused, s->created_ms, s->next_ms, s->last_ms, s->last_task, s->fired_total,
					s->skipped_total, s->last_code));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
