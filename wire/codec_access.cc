// wire/codec_access.cc: principals, tokens and rules in REQUEST.spec, REPLY.specs and the log: a FlatBuffer of its own inside of them.
// In the flow: frame -> VERIFY -> administration, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"
extern "C" {
#include "check.h"
}

static enum err texts(const fb::Vector<text_at> *from, const char *name, struct span *out, uint32_t max, uint32_t *count, char *text)
{
	*count = from ? from->size() : 0;
	if (*count > max)
		return msg_refuse(text, ERR_TOO_BIG, "%s: more than %u", name, max);
	for (uint32_t i = 0; i < *count; i++)
		out[i] = text_of(from->Get(i));
	return ERR_OK;
}

typedef fb::Vector<const hw::AccessLimit *> limits_at;

static enum err limits(const limits_at *from, const char *name, uint64_t *out, uint32_t *mask, char *text)
{
	for (uint32_t i = 0; from && i < from->size(); i++) {
		uint32_t key = from->Get(i)->key();
		if (key >= ACCESS_LIMITS || (*mask >> key & 1))
			return msg_refuse(text, ERR_INVALID_INPUT, "%s: key %u is not known, or there twice", name, key);
		*mask |= 1u << key;
		out[key] = from->Get(i)->value();
	}
	return ERR_OK;
}

static enum err read(const hw::AccessInfo *m, struct access_info *out, char *text)
{
	*out = access_info();
	out->name = text_of(m->name());
	out->set = m->set();
	out->disabled = m->disabled();
	out->deny = m->deny();
	out->verbs = m->verbs();
	out->target = text_of(m->target());
	out->vnet = text_of(m->vnet());
	out->token = m->token();
	out->created_ms = m->created_ms();
	out->expires_ms = m->expires_ms();
	out->lifetime_ms = m->lifetime_ms();
	out->overlap_ms = m->overlap_ms();
	out->with_token = m->with_token();
	out->admin = m->admin();
	out->secret = text_of(m->secret());
	out->hash = bytes_of(m->hash());
	out->salt = bytes_of(m->salt());
	out->uid_count = m->uids() ? m->uids()->size() : 0;
	if (out->uid_count > ACCESS_UIDS)
		return msg_refuse(text, ERR_TOO_BIG, "AccessInfo.uids: more than %d", int(ACCESS_UIDS));
	for (uint32_t i = 0; i < out->uid_count; i++)
		out->uids[i] = m->uids()->Get(i);
	enum err e = texts(m->certificates(), "AccessInfo.certificates", out->certificates, ACCESS_CERTIFICATES, &out->certificate_count, text);
	if (e == ERR_OK)
		e = texts(m->vnets(), "AccessInfo.vnets", out->vnets, ACCESS_VNETS, &out->vnet_count, text);
	if (e == ERR_OK)
		e = limits(m->limits(), "AccessInfo.limits", out->limits, &out->limit_mask, text);
	return e == ERR_OK ? limits(m->used(), "AccessInfo.used", out->used, &out->used_mask, text) : e;
}

static enum err check(const struct access_info *a, char *text)
{
	enum err e = check_length("AccessInfo.name", a->name, PRINCIPAL_BYTES, text);
	if (e == ERR_OK)
		e = check_length("AccessInfo.target", a->target, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("AccessInfo.vnet", a->vnet, VNET_BYTES, text);
	if (e == ERR_OK)
		e = check_length("AccessInfo.secret", a->secret, 1024, text);
	for (uint32_t i = 0; e == ERR_OK && i < a->certificate_count; i++)
		e = check_name("AccessInfo.certificates", a->certificates[i], text);
	for (uint32_t i = 0; e == ERR_OK && i < a->vnet_count; i++)
		e = a->vnets[i].len == 0 ? msg_refuse(text, ERR_INVALID_INPUT, "AccessInfo.vnets: empty")
					 : check_length("AccessInfo.vnets", a->vnets[i], VNET_BYTES, text);
	if (e == ERR_OK && (a->hash.len > 32 || a->salt.len > 32))
		e = msg_refuse(text, ERR_TOO_BIG, "AccessInfo.hash: more than 32 bytes");
	if (e == ERR_OK && (a->verbs & ~unsigned(ACCESS_ALL)))
		e = msg_refuse(text, ERR_INVALID_INPUT, "AccessInfo.verbs: 0x%x is not one of its values", a->verbs);
	return e;
}

extern "C" enum err access_info_decode(struct span bytes, struct access_info *out, char text[128])
{
	enum err e = verify_and_read<hw::AccessInfo>(bytes, "AccessInfo", out, text, read);
	return e == ERR_OK ? check(out, text) : e;
}

static fb::Offset<fb::Vector<text_at>> put_texts(builder &b, const struct span *from, uint32_t count)
{
	text_at at[ACCESS_VNETS];
	ENSURE(count <= ACCESS_VNETS);
	for (uint32_t i = 0; i < count; i++)
		at[i] = put_name(b, from[i]);
	return count ? b.CreateVector(at, count) : fb::Offset<fb::Vector<text_at>>();
}

static fb::Offset<limits_at> put_limits(builder &b, const uint64_t *from, uint32_t mask)
{
	hw::AccessLimit at[ACCESS_LIMITS];
	uint32_t count = 0;
	for (uint32_t i = 0; i < ACCESS_LIMITS; i++)
		if (mask >> i & 1)
			at[count++] = hw::AccessLimit(from[i], i);
	return count ? b.CreateVectorOfStructs(at, count) : fb::Offset<limits_at>();
}

extern "C" void access_info_encode(struct buf *out, const struct access_info *a)
{
	heap memory;
	builder b(512, &memory);
	auto name = put_text(b, a->name);
	auto certificates = put_texts(b, a->certificates, a->certificate_count);
	auto vnets = put_texts(b, a->vnets, a->vnet_count);
	fb::Offset<fb::Vector<uint32_t>> uids;
	if (a->uid_count > 0)
		uids = b.CreateVector(a->uids, a->uid_count);
	auto target = put_text(b, a->target);
	auto vnet = put_text(b, a->vnet);
	auto secret = put_text(b, a->secret);
	auto hash = put_bytes(b, a->hash);
	auto salt = put_bytes(b, a->salt);
	auto put = put_limits(b, a->limits, a->limit_mask);
	auto used = put_limits(b, a->used, a->used_mask);
	b.Finish(hw::CreateAccessInfo(b, name, certificates, vnets, uids, a->set, a->disabled, a->deny, a->verbs, target, vnet, a->token,
				      a->created_ms, a->expires_ms, a->lifetime_ms, a->overlap_ms, a->with_token, a->admin, secret, hash,
				      salt, put, used));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
