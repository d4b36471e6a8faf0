/* storage/blob_s3_none.c: a build without libcurl: there is no S3, and whoever asks for it is told. */
#include "blob.h"

#include <errno.h>

int blob_s3_open(struct io *io, const struct blob_s3_config *config, struct blob_backend **out, char text[256])
{
	(void)io, (void)config, (void)out;
	(void)snprintf(text, 256, "this build has no S3: libcurl was not there when it was made");
	return -ENOTSUP;
}

int blob_s3_start(struct blob_backend *b, uint64_t store, char text[256])
{
	(void)b, (void)store;
	(void)snprintf(text, 256, "this build has no S3");
	return -ENOTSUP;
}
