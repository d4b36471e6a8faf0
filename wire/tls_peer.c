/* wire/tls_peer.c: who the other side is, and why it is not: names in certificates, and reasons in words.
 *
 * In the flow: beside TLS; a name goes from here to the session as its principal.
 *
 * 1. A name with a NUL or another control character in it is no name: what is compared must be what was signed.
 * 2. A client only talks to the name it asked for: by the alternative names of the certificate, where there are any. */
#include "tls_impl.h"

#include <arpa/inet.h>
#include <wolfssl/openssl/x509.h>
#include <wolfssl/openssl/x509v3.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

/* An address as wolfSSL spells those in certificates. False: it is a name. */
static bool address_of(const char *name, char out[48])
{
	uint8_t b[16];
	if (inet_pton(AF_INET, name, b) == 1) {
		(void)snprintf(out, 48, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
		return true;
	}
	if (inet_pton(AF_INET6, name, b) != 1)
		return false;
	for (int i = 0; i < 8; i++)
		(void)snprintf(out + 5 * i, 6, "%02X%02X%s", b[2 * i], b[2 * i + 1], i < 7 ? ":" : "");
	return true;
}

bool tls_expect(struct tls *t, const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len > TLS_NAME_BYTES)
		return false;
	char address[48];
	memcpy(t->name, name, len + 1);
	if (address_of(name, address))
		return wolfSSL_X509_VERIFY_PARAM_set1_ip_asc(wolfSSL_get0_param(t->wolf), address) == WOLFSSL_SUCCESS;
	return wolfSSL_UseSNI(t->wolf, WOLFSSL_SNI_HOST_NAME, name, (unsigned short)len) == WOLFSSL_SUCCESS &&
	       wolfSSL_check_domain_name(t->wolf, name) == WOLFSSL_SUCCESS;
}

/* ---- names ---- */

static bool take_name(const WOLFSSL_ASN1_STRING *from, char out[TLS_NAME_BYTES + 1])
{
	if (!from || !from->data || from->length <= 0 || from->length > TLS_NAME_BYTES)
		return false;
	for (int i = 0; i < from->length; i++)
		if ((uint8_t)from->data[i] < ' ' || from->data[i] == 0x7f)
			return false;
	memcpy(out, from->data, (size_t)from->length);
	out[from->length] = 0;
	return true;
}

static bool find_name(WOLFSSL_STACK *names, int type, char out[TLS_NAME_BYTES + 1])
{
	for (int i = 0; i < wolfSSL_sk_num(names); i++) {
		WOLFSSL_GENERAL_NAME *name = wolfSSL_sk_GENERAL_NAME_value(names, i);
		/* The union holds a string for each type that is asked for. */
		if (name && name->type == type && take_name(name->d.ia5, out))
			return true;
	}
	return false;
}

static bool common_name(WOLFSSL_X509 *x509, char out[TLS_NAME_BYTES + 1])
{
	WOLFSSL_X509_NAME *subject = wolfSSL_X509_get_subject_name(x509);
	int at = subject ? wolfSSL_X509_NAME_get_index_by_NID(subject, NID_commonName, -1) : -1;
	WOLFSSL_X509_NAME_ENTRY *entry = at >= 0 ? wolfSSL_X509_NAME_get_entry(subject, at) : NULL;
	return entry && take_name(wolfSSL_X509_NAME_ENTRY_get_data(entry), out);
}

enum tls_name_kind tls_name_of(WOLFSSL_X509 *x509, char out[TLS_NAME_BYTES + 1])
{
	static const struct { int type; enum tls_name_kind kind; } order[] = {
		{ GEN_URI, TLS_NAME_URI }, { GEN_DNS, TLS_NAME_DNS }, { GEN_EMAIL, TLS_NAME_EMAIL },
	};
	enum tls_name_kind kind = TLS_NAME_NONE;
	out[0] = 0;
	WOLFSSL_STACK *names = wolfSSL_X509_get_ext_d2i(x509, NID_subject_alt_name, NULL, NULL);
	for (size_t i = 0; names && kind == TLS_NAME_NONE && i < COUNT_OF(order); i++)
		if (find_name(names, order[i].type, out))
			kind = order[i].kind;
	if (kind == TLS_NAME_NONE && common_name(x509, out))
		kind = TLS_NAME_CN;
	if (names)
		wolfSSL_sk_GENERAL_NAME_pop_free(names, NULL);
	return kind;
}

enum tls_name_kind tls_peer_name(struct tls *t, char out[TLS_NAME_BYTES + 1])
{
	(void)snprintf(out, TLS_NAME_BYTES + 1, "%s", t->peer ? t->peer->name : "");
	return t->peer ? (enum tls_name_kind)t->peer->kind : TLS_NAME_NONE;
}

const char *tls_name_kind_text(enum tls_name_kind kind)
{
	static const char *const texts[] = { "", "uri", "dns", "email", "cn" };
	return texts[kind];
}

/* ---- reasons ---- */

struct reason { int code; enum err err; const char *text; };

static const struct reason reasons[] = {
	{ ASN_AFTER_DATE_E, ERR_SECURITY, "its certificate, or a revocation list, has expired" },
	{ ASN_BEFORE_DATE_E, ERR_SECURITY, "its certificate is not valid yet" },
	{ CRL_CERT_DATE_ERR, ERR_SECURITY, "the revocation list has expired" },
	{ ASN_NO_SIGNER_E, ERR_SECURITY, "its certificate is from nobody who is trusted here (unknown CA)" },
	{ ASN_SELF_SIGNED_E, ERR_SECURITY, "its certificate is signed by itself (unknown CA)" },
	{ ASN_SIG_CONFIRM_E, ERR_SECURITY, "the signature of its certificate is wrong" },
	{ DOMAIN_NAME_MISMATCH, ERR_SECURITY, "its certificate is for another name" },
	{ IPADDR_MISMATCH, ERR_SECURITY, "its certificate is for another address" },
	{ CRL_CERT_REVOKED, ERR_SECURITY, "its certificate was revoked" },
	{ OCSP_CERT_REVOKED, ERR_SECURITY, "its certificate was revoked, as the OCSP answer says that it showed" },
	{ BAD_CERTIFICATE_STATUS_ERROR, ERR_SECURITY, "the OCSP answer that it showed is no good: expired, or not about its certificate" },
	{ OCSP_CERT_UNKNOWN, ERR_SECURITY, "it showed no OCSP answer about its certificate, which is required here" },
	{ OCSP_LOOKUP_FAIL, ERR_SECURITY, "it showed no OCSP answer about its certificate, which that certificate demands (must-staple)" },
	{ PSK_KEY_ERROR, ERR_SECURITY, "it would go on with an earlier session without new keys (no forward secrecy)" },
	{ CRL_MISSING, ERR_SECURITY, "there is no revocation list of the CA of its certificate" },
	{ EXTKEYUSE_AUTH_E, ERR_SECURITY, "its certificate is for another purpose" },
	{ KEYUSE_SIGNATURE_E, ERR_SECURITY, "its certificate is for another purpose" },
	{ NOT_CA_ERROR, ERR_SECURITY, "its certificate was issued by one that may not issue any" },
	{ NO_PEER_CERT, ERR_PERMISSION, "it showed no certificate" },
	{ UNKNOWN_ALPN_PROTOCOL_NAME_E, ERR_VERSION, "it speaks another protocol inside TLS" },
	{ MATCH_SUITE_ERROR, ERR_VERSION, "no cipher suite in common" },
	{ VERSION_ERROR, ERR_VERSION, "it does not speak TLS 1.3" },
	{ UNSUPPORTED_PROTO_VERSION, ERR_VERSION, "it does not speak TLS 1.3" },
	{ UNKNOWN_RECORD_TYPE, ERR_MALFORMED, "it does not speak TLS" },
	{ MEMORY_E, ERR_RESOURCE_EXHAUSTED, "no memory is left for TLS" },
	{ MEMORY_ERROR, ERR_RESOURCE_EXHAUSTED, "no memory is left for TLS" },
};

/* What the peer said of us. */
static const struct reason alerts[] = {
	{ bad_certificate, ERR_PERMISSION, "it did not take our certificate" },
	{ 43, ERR_PERMISSION, "it did not take our certificate (unsupported)" },
	{ certificate_revoked, ERR_PERMISSION, "it says that our certificate was revoked" },
	{ certificate_expired, ERR_PERMISSION, "it says that our certificate has expired" },
	{ 46, ERR_PERMISSION, "it did not take our certificate" },
	{ unknown_ca, ERR_PERMISSION, "it does not know the CA of our certificate" },
	{ 49, ERR_PERMISSION, "it denies us access" },
	{ certificate_required, ERR_PERMISSION, "it demands a certificate of us" },
	{ no_application_protocol, ERR_VERSION, "it does not speak " TLS_ALPN },
	{ protocol_version, ERR_VERSION, "it has no version of TLS in common with us" },
	{ handshake_failure, ERR_VERSION, "it has nothing in common with us" },
};

static const struct reason *find(const struct reason *table, size_t count, int code)
{
	for (size_t i = 0; i < count; i++)
		if (table[i].code == code)
			return &table[i];
	return NULL;
}

const char *tls_reason(int wolf_error)
{
	const struct reason *reason = find(reasons, COUNT_OF(reasons), wolf_error);
	return reason ? reason->text : NULL;
}

void tls_fail(struct tls *t, int wolf_error)
{
	if (t->verdict != 0)
		wolf_error = t->verdict;
	WOLFSSL_ALERT_HISTORY history = { .last_rx = { .code = -1 } };
	const struct reason *reason = find(reasons, COUNT_OF(reasons), wolf_error);
	if (wolf_error == FATAL_ERROR && wolfSSL_get_alert_history(t->wolf, &history) == WOLFSSL_SUCCESS)
		reason = find(alerts, COUNT_OF(alerts), history.last_rx.code);
	t->phase = TLS_FAILED;
	t->failure = reason ? reason->err : ERR_MALFORMED;
	bool other_name = wolf_error == DOMAIN_NAME_MISMATCH || wolf_error == IPADDR_MISMATCH;
	char detail[WOLFSSL_MAX_ERROR_SZ] = "";
	if (!reason && wolf_error == FATAL_ERROR)
		(void)snprintf(detail, sizeof detail, "it ended the session with alert %d", history.last_rx.code);
	else if (!reason)
		(void)wolfSSL_ERR_error_string_n((unsigned long)-(long)wolf_error, detail, sizeof detail);
	(void)snprintf(t->text, sizeof t->text, "%s%s%.100s", reason ? reason->text : detail, other_name ? " than " : "",
		       other_name ? t->name : "");
}
