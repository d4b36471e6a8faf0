/* fuzz/golden_write.c: writes the golden bytes of every message kind into tests/golden/, or with a second directory
 * also the first inputs of the fuzz corpora. See tests/golden/README.md. */
#include "../tests/unit/wire_samples.h"
#include "official.h"

static void write_hex(const char *dir, const char *name, const char *suffix, struct span bytes)
{
	char path[1024];
	ENSURE((size_t)snprintf(path, sizeof path, "%s/%s%s.hex", dir, name, suffix) < sizeof path);
	FILE *file = fopen(path, "w");
	ENSURE(file != NULL);
	for (size_t i = 0; i < bytes.len; i++)
		(void)fprintf(file, "%02x%s", bytes.data[i], i % 32 == 31 || i + 1 == bytes.len ? "\n" : "");
	ENSURE(fclose(file) == 0);
}

static void write_raw(const char *dir, const char *target, const char *name, struct span a, struct span b)
{
	char path[1024];
	ENSURE((size_t)snprintf(path, sizeof path, "%s/%s/sample-%s", dir, target, name) < sizeof path);
	FILE *file = fopen(path, "wb");
	ENSURE(file != NULL);
	ENSURE(fwrite(a.data, 1, a.len, file) == a.len && fwrite(b.data, 1, b.len, file) == b.len);
	ENSURE(fclose(file) == 0);
}

/* A frame as the input of fuzz_frame, and in the form that fuzz_msg reads. */
static void write_corpus(const char *dir, const char *name, struct span frame)
{
	struct { uint16_t kind, share; } start;
	uint32_t meta;
	memcpy(&start.kind, frame.data + 4, 2);
	memcpy(&meta, frame.data + 8, 4);
	size_t body = frame.len - LIMIT_FRAME_HEADER;
	start.share = (uint16_t)MIN_OF(((size_t)meta * 65535 + body - 1) / body, (size_t)65535);
	write_raw(dir, "frame", name, frame, span_of(NULL, 0));
	write_raw(dir, "msg", name, span_of(&start, sizeof start), span_sub(frame, LIMIT_FRAME_HEADER, body));
}

int main(int argc, char **argv)
{
	static struct msg msg;
	struct sample_space space = { 0 };
	struct buf out = { 0 };
	if (argc < 2) {
		(void)fprintf(stderr, "usage: golden_write GOLDEN-DIR [CORPUS-DIR]\n");
		return 1;
	}
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		uint16_t kind = sample_kinds[i];
		const char *name = frame_kind_name(kind);
		uint32_t pieces = sample_has_payload(kind) ? COUNT_OF(sample_pieces) : 0;
		sample_message(kind, &msg, &space);
		out.len = 0;
		msg_encode(&out, &msg, SAMPLE_CORRELATION, sample_pieces, pieces);
		write_hex(argv[1], name, "", buf_span(&out));
		if (argc > 2)
			write_corpus(argv[2], name, buf_span(&out));
		if (!sample_is_hot(kind))
			continue;
		out.len = 0;
		official_encode(&out, &msg, SAMPLE_CORRELATION, sample_pieces, pieces);
		write_hex(argv[1], name, ".official", buf_span(&out));
	}
	buf_free(&out);
	buf_free(&space.head);
	return 0;
}
