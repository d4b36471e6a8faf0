/* wire/tls_crypto.c: what is one for the whole process: wolfSSL's own start, the heap, and AES-GCM by libipsec-mb.
 *
 * In the flow: below TLS. Debian's wolfSSL has AES in portable C only; libipsec-mb, where it is installed and the processor has the
 * instructions, does the same bytes some 50 times faster through wolfSSL's crypto callback.
 *
 * 1. The state here is file-scope because wolfSSL's is: its allocators and devices have no context of ours.
 * 2. libipsec-mb is looked for at run time and only taken where it is the version this was built for: its table has no stable layout.
 * 3. Whenever a client asks for an OCSP answer, wolfSSL 5.5.4 forgets what it has parsed of the server's certificate, and the copy of the
 *    answer: 6 KB for each stranger who asks. This heap sees both, and gives them back (tls_heap_watch).
 * 4. Keys are expanded for each record and zeroed behind it: a cache would have to know when wolfSSL forgets a key, and it does not say.
 *    That costs about 2 % of a record of 16 KiB. */
#include "tls_impl.h"

#include <pthread.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/cryptocb.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#ifdef HILLOCK_IPSEC_MB
#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#endif

enum { DEVICE_ID = 0x484c4b, BLOCK_HEAD = 16, VERSION_THAT_FORGETS = 0x05005004 };

static struct {
	pthread_once_t once;
	bool good;
	bool forgets; /* a version of wolfSSL that frees a certificate without what is in it */
	int device;
	char engine[80];
	_Atomic size_t used, peak, limit;
	_Atomic uint64_t refused;
#ifdef HILLOCK_IPSEC_MB
	IMB_MGR *mb;
#endif
} library = { .once = PTHREAD_ONCE_INIT, .device = INVALID_DEVID };
static _Thread_local unsigned handshakes;
static _Thread_local struct tls_forgotten *watched;

/* ---- the heap ---- */

void tls_heap_enter(void) { handshakes++; }
void tls_heap_leave(void) { handshakes--; }

static bool heap_take(size_t size)
{
	size_t limit = atomic_load(&library.limit);
	if (handshakes > 0)
		limit -= limit / 8;
	size_t now = atomic_fetch_add(&library.used, size) + size;
	if (now > limit) {
		atomic_fetch_sub(&library.used, size);
		atomic_fetch_add(&library.refused, 1);
		return false;
	}
	size_t peak = atomic_load(&library.peak);
	while (now > peak && !atomic_compare_exchange_weak(&library.peak, &peak, now))
		;
	return true;
}

struct head {
	size_t size;
	void **known_by; /* is made NULL when the block is freed; may be NULL */
};
_Static_assert(sizeof(struct head) == BLOCK_HEAD, "what follows is aligned for anything");

static struct head *head_of(void *at)
{
	return (struct head *)(void *)((uint8_t *)at - BLOCK_HEAD);
}

static void *heap_malloc(size_t size)
{
	if (size > SIZE_MAX / 2 || !heap_take(size + BLOCK_HEAD))
		return NULL;
	uint8_t *block = malloc(size + BLOCK_HEAD);
	if (!block) {
		atomic_fetch_sub(&library.used, size + BLOCK_HEAD);
		return NULL;
	}
	void *at = block + BLOCK_HEAD;
	*head_of(at) = (struct head){ .size = size + BLOCK_HEAD };
	if (watched && size == watched->size && watched->hello < COUNT_OF(watched->copies) && !watched->copies[watched->hello]) {
		watched->copies[watched->hello] = at; /* wolfSSL's own copy for later comes after it */
		head_of(at)->known_by = &watched->copies[watched->hello];
	}
	return at;
}

static void heap_free(void *at)
{
	if (!at)
		return;
	struct head *head = head_of(at);
	if (library.forgets && watched && head->size == sizeof(DecodedCert) + BLOCK_HEAD) {
		struct tls_forgotten *f = watched;
		watched = NULL; /* what is in it is no such thing */
		FreeDecodedCert(at);
		watched = f;
	}
	if (head->known_by)
		*head->known_by = NULL;
	atomic_fetch_sub(&library.used, head->size);
	free(head);
}

static void *heap_realloc(void *at, size_t size)
{
	if (!at)
		return heap_malloc(size);
	void *moved = heap_malloc(size);
	if (!moved)
		return NULL;
	size_t had = head_of(at)->size - BLOCK_HEAD;
	memcpy(moved, at, MIN_OF(had, size));
	explicit_bzero(at, had); /* it may have been a key */
	heap_free(at);
	return moved;
}

void tls_heap_limit(size_t bytes)
{
	atomic_store(&library.limit, bytes);
	ENSURE(wolfSSL_SetAllocators(heap_malloc, heap_free, heap_realloc) == 0);
}

void tls_heap_watch(struct tls_forgotten *f)
{
	watched = f;
}

void tls_heap_forgotten(struct tls_forgotten *f, struct span answer)
{
	for (size_t i = 0; i < COUNT_OF(f->copies); i++)
		if (f->copies[i] && memcmp(f->copies[i], answer.data, answer.len) == 0)
			heap_free(f->copies[i]);
}

void tls_heap_get(struct tls_heap_stats *out)
{
	*out = (struct tls_heap_stats){ .used = atomic_load(&library.used), .peak = atomic_load(&library.peak),
					.limit = atomic_load(&library.limit), .refused_total = atomic_load(&library.refused) };
}

/* ---- AES-GCM ---- */

#ifdef HILLOCK_IPSEC_MB

static bool expand(const Aes *aes, struct gcm_key_data *key)
{
	if (aes->keylen == 16)
		IMB_AES128_GCM_PRE(library.mb, aes->devKey, key);
	else if (aes->keylen == 32)
		IMB_AES256_GCM_PRE(library.mb, aes->devKey, key);
	else
		return false;
	return true;
}

static int encrypt(wc_CryptoInfo *info)
{
	struct gcm_key_data key;
	struct gcm_context_data context;
	if (info->cipher.aesgcm_enc.ivSz != 12 || !expand(info->cipher.aesgcm_enc.aes, &key))
		return CRYPTOCB_UNAVAILABLE;
	aes_gcm_enc_dec_t run = info->cipher.aesgcm_enc.aes->keylen == 16 ? library.mb->gcm128_enc : library.mb->gcm256_enc;
	run(&key, &context, info->cipher.aesgcm_enc.out, info->cipher.aesgcm_enc.in, info->cipher.aesgcm_enc.sz,
	    info->cipher.aesgcm_enc.iv, info->cipher.aesgcm_enc.authIn, info->cipher.aesgcm_enc.authInSz,
	    info->cipher.aesgcm_enc.authTag, info->cipher.aesgcm_enc.authTagSz);
	explicit_bzero(&key, sizeof key);
	explicit_bzero(&context, sizeof context);
	return 0;
}

static int decrypt(wc_CryptoInfo *info)
{
	struct gcm_key_data key;
	struct gcm_context_data context;
	uint8_t tag[16], differs = 0;
	word32 tag_bytes = info->cipher.aesgcm_dec.authTagSz;
	if (info->cipher.aesgcm_dec.ivSz != 12 || tag_bytes > sizeof tag || !expand(info->cipher.aesgcm_dec.aes, &key))
		return CRYPTOCB_UNAVAILABLE;
	aes_gcm_enc_dec_t run = info->cipher.aesgcm_dec.aes->keylen == 16 ? library.mb->gcm128_dec : library.mb->gcm256_dec;
	run(&key, &context, info->cipher.aesgcm_dec.out, info->cipher.aesgcm_dec.in, info->cipher.aesgcm_dec.sz,
	    info->cipher.aesgcm_dec.iv, info->cipher.aesgcm_dec.authIn, info->cipher.aesgcm_dec.authInSz, tag, tag_bytes);
	for (word32 i = 0; i < tag_bytes; i++)
		differs |= (uint8_t)(tag[i] ^ info->cipher.aesgcm_dec.authTag[i]);
	explicit_bzero(&key, sizeof key);
	explicit_bzero(&context, sizeof context);
	explicit_bzero(tag, sizeof tag);
	return differs ? AES_GCM_AUTH_E : 0;
}

static int serve(int device, wc_CryptoInfo *info, void *ctx)
{
	(void)device;
	(void)ctx;
	if (info->algo_type != WC_ALGO_TYPE_CIPHER || info->cipher.type != WC_CIPHER_AES_GCM)
		return CRYPTOCB_UNAVAILABLE;
	return info->cipher.enc ? encrypt(info) : decrypt(info);
}

/* A function of the library; ISO C knows no way from an object's address to a function's. */
static bool find(void *handle, const char *name, void *function)
{
	void *at = dlsym(handle, name);
	memcpy(function, &at, sizeof at);
	return at != NULL;
}

static bool engine_open(void)
{
	const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
	unsigned (*version)(void);
	IMB_MGR *(*make)(uint64_t);
	void (*start)(IMB_MGR *, IMB_ARCH *);
	void (*end)(IMB_MGR *);
	if (secure_getenv("HILLOCK_NO_IPSEC_MB"))
		return false;
	void *handle = dlopen("libIPSec_MB.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!handle)
		return false;
	if (!find(handle, "imb_get_version", &version) || version() != IMB_VERSION_NUM || !find(handle, "alloc_mb_mgr", &make) ||
	    !find(handle, "init_mb_mgr_auto", &start) || !find(handle, "free_mb_mgr", &end))
		return false;
	IMB_MGR *mb = make(0);
	if (!mb)
		return false;
	start(mb, NULL);
	if ((mb->features & needed) != needed || mb->gcm128_enc == NULL ||
	    wc_CryptoCb_RegisterDevice(DEVICE_ID, serve, NULL) != 0) {
		end(mb);
		return false;
	}
	library.mb = mb;
	return true;
}

#else

static bool engine_open(void)
{
	return false;
}

#endif

static void open_once(void)
{
	if (wolfSSL_Init() != WOLFSSL_SUCCESS)
		return;
	library.good = true;
	library.forgets = LIBWOLFSSL_VERSION_HEX == VERSION_THAT_FORGETS && wolfSSL_lib_version_hex() == VERSION_THAT_FORGETS;
	if (engine_open()) {
		library.device = DEVICE_ID;
#ifdef HILLOCK_IPSEC_MB
		(void)snprintf(library.engine, sizeof library.engine, "AES-GCM by libipsec-mb %s", IMB_VERSION_STR);
#endif
	} else {
		(void)snprintf(library.engine, sizeof library.engine, "ChaCha20-Poly1305 preferred: no libipsec-mb");
	}
}

bool tls_library(void)
{
	(void)pthread_once(&library.once, open_once);
	return library.good;
}

int tls_device(void)
{
	return library.device;
}

const char *tls_engine(void)
{
	return tls_library() ? library.engine : "wolfSSL does not start";
}
