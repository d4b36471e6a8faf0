// wire/codec_impl.hh: what the files of the codec share: the names FlatBuffers gets here, verified reading, building.
// Private to codec*.cc. In the flow: frame -> VERIFY -> session, and back out.
//
// One file per area of the protocol (codec_session.cc, codec_task.cc, codec_admin.cc ...), each with one struct codec_area; codec.cc
// chooses by kind. Invariants 1 to 4 stand in codec.cc.
#pragma once

typedef decltype(sizeof 0) codec_size;
void *operator new(codec_size) __asm__("hillock_codec_new");
void *operator new[](codec_size) __asm__("hillock_codec_new_array");
void operator delete(void *) noexcept __asm__("hillock_codec_delete");
void operator delete[](void *) noexcept __asm__("hillock_codec_delete_array");

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define _Static_assert static_assert
extern "C" {
#include "codec.h"
}
#define FLATBUFFERS_ASSERT(cond) ENSURE(cond)
// The inline functions get names of our own too: in a C++ program that links us and uses FlatBuffers itself, the linker
// keeps one copy of each, and its own must not be the one that stops at our operator new.
#define flatbuffers hillock_private_flatbuffers
#define hillock hillock_private
#include "hillock_generated.h"

namespace fb = flatbuffers;
namespace hw = hillock::wire;

// ---------------------------------------------------------------- reading

static inline struct span none()
{
	return span_of(nullptr, 0);
}

static inline struct span text_of(const fb::String *s)
{
	return s ? span_of(s->Data(), s->size()) : none();
}

static inline struct span bytes_of(const fb::Vector<uint8_t> *v)
{
	return v ? span_of(v->Data(), v->size()) : none();
}

// Depth and number of tables are bounded: offsets may be shared, so a small buffer can name many tables.
template <class T> static const T *verified(struct span bytes, const char *name, char text[128])
{
	fb::Verifier::Options options;
	options.max_depth = LIMIT_FB_DEPTH;
	options.max_tables = LIMIT_FB_TABLES;
	options.check_nested_flatbuffers = false; // it would not inherit the limits: heads are verified by us
	if (bytes.len < LIMIT_META_BYTES + 1) {
		fb::Verifier verifier(bytes.data, bytes.len, options);
		if (verifier.VerifyBuffer<T>(nullptr))
			return fb::GetRoot<T>(bytes.data);
	}
	(void)msg_refuse(text, ERR_MALFORMED, "%s: the meta part is not a valid FlatBuffer of its table", name);
	return nullptr;
}

// Borrows a vector in place; false where the C type could not be read there.
template <class C, class V> static bool borrow(const V *vector, const C **at, uint32_t *count)
{
	*at = nullptr;
	*count = vector ? vector->size() : 0;
	if (*count == 0)
		return true;
	*at = reinterpret_cast<const C *>(vector->Data());
	return reinterpret_cast<uintptr_t>(vector->Data()) % alignof(C) == 0;
}

static inline enum err misaligned(const char *what, char text[128])
{
	return msg_refuse(text, ERR_MALFORMED, "%s: the vector is not aligned to its items", what);
}

static inline enum err unknown_kind(uint16_t kind, char text[128])
{
	return msg_refuse(text, ERR_UNKNOWN_KIND, "frame.kind: %u is not known here", (unsigned)kind);
}

// `read` fills the plain struct of one message: a function object, so that each file has its own overloads.
template <class T, class C>
static enum err verify_and_read(struct span meta, const char *name, C *out, char text[128],
				enum err (*read)(const T *, C *, char *))
{
	const T *m = verified<T>(meta, name, text);
	return m ? read(m, out, text) : ERR_MALFORMED;
}

// ---------------------------------------------------------------- writing

namespace {

// Memory of one builder. Exhaustion aborts, as everywhere: what is written is bounded by the limits.
class heap : public fb::Allocator
{
      public:
	uint8_t *allocate(size_t size) override
	{
		void *at = malloc(size);
		ENSURE(at != nullptr);
		return static_cast<uint8_t *>(at);
	}
	void deallocate(uint8_t *at, size_t) override { free(at); }
};

typedef fb::FlatBufferBuilder builder;
typedef fb::Offset<fb::String> text_at;

} // namespace

// Absent and empty are the same to us; absent is shorter.
static inline text_at put_text(builder &b, struct span s)
{
	return s.len ? b.CreateString(reinterpret_cast<const char *>(s.data), s.len) : text_at();
}

// A required string, where empty is a value.
static inline text_at put_name(builder &b, struct span s)
{
	return b.CreateString(s.len ? reinterpret_cast<const char *>(s.data) : "", s.len);
}

static inline fb::Offset<fb::Vector<uint8_t>> put_bytes(builder &b, struct span s)
{
	return s.len ? b.CreateVector(s.data, s.len) : fb::Offset<fb::Vector<uint8_t>>();
}

static inline fb::Offset<fb::Vector<uint64_t>> put_u64s(builder &b, struct u64s v)
{
	ENSURE(v.count <= LIMIT_FRAME_ITEMS);
	return b.CreateVector(v.at, v.count);
}

// Collects offsets of strings or tables; the builder forbids making them inside the vector.
template <class O> struct offsets {
	O *at;
	explicit offsets(uint32_t count) : at(static_cast<O *>(calloc(count ? count : 1, sizeof(O))))
	{
		ENSURE(at != nullptr);
	}
	~offsets() { free(at); }
	offsets(const offsets &) = delete;
	offsets &operator=(const offsets &) = delete;
};

// A vector of tables, absent where there are none; `put` makes one.
template <class T, class C>
static fb::Offset<fb::Vector<fb::Offset<T>>> put_all(builder &b, const C *items, uint32_t count,
						     fb::Offset<T> (*put)(builder &, const C *))
{
	if (count == 0)
		return fb::Offset<fb::Vector<fb::Offset<T>>>();
	offsets<fb::Offset<T>> made(count);
	for (uint32_t i = 0; i < count; i++)
		made.at[i] = put(b, &items[i]);
	return b.CreateVector(made.at, count);
}

// A nested FlatBuffer is read in place, so it has to start 8-aligned.
static inline fb::Offset<fb::Vector<uint8_t>> put_head(builder &b, struct span head)
{
	if (head.len == 0)
		return fb::Offset<fb::Vector<uint8_t>>();
	b.ForceVectorAlignment(head.len, 1, 8);
	return b.CreateVector(head.data, head.len);
}

// An entry of the directory, in codec_directory.cc. Names go into `texts`, of which *used are taken; false where they have no room.
bool codec_entry_read(const hw::Entry *from, struct wire_entry *to, struct span *texts, uint32_t *used);
fb::Offset<hw::Entry> codec_entry_put(builder &b, const struct wire_entry *e);

// ---------------------------------------------------------------- areas

// Kinds of one area of the protocol: the upper bits of a kind say which (kind / 16).
struct codec_area {
	enum err (*read)(uint16_t kind, struct span meta, struct msg *out, char text[128]);
	void (*write)(builder &b, const struct msg *m);
};
extern const struct codec_area codec_session, codec_task, codec_admin, codec_directory, codec_call, codec_event, codec_blob;
