/* broker/certs.c: the contract stands in certs.h. Key files are zeroed in memory once they were read. */
#include "certs.h"

#include "host.h"

enum { FILE_BYTES_MAX = 16 << 20, FILES = 5 };

enum err certs_load(const struct config *c, struct tls_ctx **out, char text[256])
{
	const char *const paths[FILES] = { c->tls_cert, c->tls_key, c->tls_ca, c->tls_crl, c->tls_ocsp };
	struct buf files[FILES] = { { NULL, 0, 0 } };
	enum err e = ERR_OK;
	*out = NULL;
	if (!c->tls_cert[0])
		return ERR_OK;
	for (uint32_t i = 0; i < FILES && e == ERR_OK; i++)
		if (paths[i][0])
			e = host_read_file(paths[i], FILE_BYTES_MAX, &files[i], text);
	if (e == ERR_OK) {
		const struct tls_settings settings = { .server = true, .verify = (enum tls_verify)c->tls_verify,
			.chain = buf_span(&files[0]), .key = buf_span(&files[1]), .ca = buf_span(&files[2]),
			.crl = buf_span(&files[3]), .ocsp = buf_span(&files[4]) };
		e = tls_ctx_new(&settings, out, text);
	}
	for (uint32_t i = 0; i < FILES; i++) {
		if (files[i].data)
			explicit_bzero(files[i].data, files[i].cap);
		buf_free(&files[i]);
	}
	return e;
}
