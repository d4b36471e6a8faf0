// wire/codec_type.cc: registered types in REQUEST.spec and REPLY.specs: a FlatBuffer of its own inside of them.
// In the flow: frame -> VERIFY -> administration, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"
extern "C" {
#include "check.h"
}

static enum err read(const hw::TypeInfo *m, struct type_info *out, char *text)
{
	out->name = text_of(m->name());
	out->root = text_of(m->root());
	out->parent = text_of(m->parent());
	out->policy = m->policy();
	out->schema = bytes_of(m->schema());
	out->payload = bytes_of(m->payload());
	out->answers = m->answers();
	out->registered_ms = m->registered_ms();
	out->changed_ms = m->changed_ms();
	out->alias_count = m->aliases() ? m->aliases()->size() : 0;
	out->fingerprint_count = m->fingerprints() ? m->fingerprints()->size() : 0;
	if (out->alias_count > TYPE_ALIASES || out->fingerprint_count > TYPE_FINGERPRINTS)
		return msg_refuse(text, ERR_TOO_BIG, "TypeInfo: more than %d aliases or %d fingerprints", int(TYPE_ALIASES),
				  int(TYPE_FINGERPRINTS));
	for (uint32_t i = 0; i < out->alias_count; i++)
		out->aliases[i] = text_of(m->aliases()->Get(i));
	if (out->fingerprint_count > 0) // copied as bytes: the Verifier aligns vectors to 4 only
		memcpy(out->fingerprints, m->fingerprints()->Data(), out->fingerprint_count * sizeof out->fingerprints[0]);
	return ERR_OK;
}

extern "C" enum err type_info_decode(struct span bytes, struct type_info *out, char text[128])
{
	enum err e = verify_and_read<hw::TypeInfo>(bytes, "TypeInfo", out, text, read);
	if (e == ERR_OK)
		e = check_length("TypeInfo.name", out->name, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("TypeInfo.root", out->root, LIMIT_NAME_BYTES, text);
	if (e == ERR_OK)
		e = check_length("TypeInfo.parent", out->parent, LIMIT_NAME_BYTES, text);
	for (uint32_t i = 0; e == ERR_OK && i < out->alias_count; i++)
		e = check_name("TypeInfo.aliases", out->aliases[i], text);
	if (e == ERR_OK && out->policy >= TYPE_POLICIES && out->policy != TYPE_POLICY_UNSET)
		e = msg_refuse(text, ERR_INVALID_INPUT, "TypeInfo.policy: %u is not one of its values", out->policy);
	if (e == ERR_OK && out->answers >= TYPE_ANSWERS)
		e = msg_refuse(text, ERR_INVALID_INPUT, "TypeInfo.answers: %u is not one of its values", out->answers);
	return e;
}

extern "C" void type_info_encode(struct buf *out, const struct type_info *info)
{
	heap memory;
	builder b(512, &memory);
	text_at aliases[TYPE_ALIASES];
	ENSURE(info->alias_count <= TYPE_ALIASES && info->fingerprint_count <= TYPE_FINGERPRINTS);
	for (uint32_t i = 0; i < info->alias_count; i++)
		aliases[i] = put_name(b, info->aliases[i]);
	fb::Offset<fb::Vector<text_at>> alias_vector;
	if (info->alias_count > 0)
		alias_vector = b.CreateVector(aliases, info->alias_count);
	fb::Offset<fb::Vector<uint64_t>> fingerprints;
	if (info->fingerprint_count > 0)
		fingerprints = b.CreateVector(info->fingerprints, info->fingerprint_count);
	auto name = put_text(b, info->name);
	auto root = put_text(b, info->root);
	auto parent = put_text(b, info->parent);
	auto schema = put_bytes(b, info->schema);
	auto payload = put_bytes(b, info->payload);
	b.Finish(hw::CreateTypeInfo(b, name, root, parent, info->policy, alias_vector, schema, fingerprints,
				    info->registered_ms, info->changed_ms, payload, info->answers));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
