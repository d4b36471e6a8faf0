/* clientlib/access.c: principals, tokens and rules. In the flow: call -> REQUEST with an AccessInfo inside -> broker -> REPLY -> rows to
 * the caller.
 *
 * 1. Rows borrow the frame, so they are handed out while it is read. A secret is in no memory of ours but that frame. */
#include "client_impl.h"

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

struct rows { hlk_access_fn *each; void *ctx; uint64_t next; int bad; };

static size_t limits_of(const uint64_t *from, uint32_t mask, struct hlk_limit out[ACCESS_LIMITS])
{
	size_t count = 0;
	for (uint32_t i = 0; i < ACCESS_LIMITS; i++)
		if (mask >> i & 1)
			out[count++] = (struct hlk_limit){ access_limit_name(i), from[i] };
	return count;
}

static void take(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct rows *rows = arg;
	struct access_info a;
	char text[128], verbs[96];
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count && rows->each; i++) {
		const char *certificates[ACCESS_CERTIFICATES], *vnets[ACCESS_VNETS];
		struct hlk_limit limits[ACCESS_LIMITS], used[ACCESS_LIMITS];
		if (access_info_decode(msg_reply_spec(m, i), &a, text) != ERR_OK) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		size_t len = 0;
		verbs[0] = '\0';
		for (uint32_t v = 0; v < ACCESS_VERBS && a.verbs != ACCESS_ALL; v++)
			if (a.verbs >> v & 1)
				len += (size_t)snprintf(verbs + len, sizeof verbs - len, "%s%s", len ? "," : "", access_verb_name(v));
		for (uint32_t k = 0; k < a.certificate_count; k++)
			certificates[k] = text_of(a.certificates[k]);
		for (uint32_t k = 0; k < a.vnet_count; k++)
			vnets[k] = text_of(a.vnets[k]);
		const struct hlk_access_row row = {
			.name = text_of(a.name), .certificates = certificates, .certificate_count = a.certificate_count, .vnets = vnets,
			.vnet_count = a.vnet_count, .uids = a.uids, .uid_count = a.uid_count, .disabled = a.disabled, .denies = a.deny,
			.verbs = a.verbs == ACCESS_ALL ? "*" : verbs, .target = text_of(a.target), .vnet = text_of(a.vnet), .token = a.token,
			.created_ms = a.created_ms, .expires_ms = a.expires_ms, .secret = text_of(a.secret), .why = text_of(m->text),
			.limits = limits, .limit_count = limits_of(a.limits, a.limit_mask, limits),
			.used = used, .used_count = limits_of(a.used, a.used_mask, used),
		};
		rows->each(&row, rows->ctx);
	}
}

static int ask(struct hlk *c, enum verb verb, const char *name, const struct access_info *spec, bool question, hlk_access_fn *each,
	       void *ctx, const char *what)
{
	struct buf bytes = { NULL, 0, 0 };
	struct rows rows = { each, ctx, 0, HLK_OK };
	int code;
	if (spec)
		access_info_encode(&bytes, spec);
	do {
		const struct msg_request r = { .verb = (uint16_t)verb, .name = span_str(name), .spec = buf_span(&bytes), .cursor = rows.next };
		rows.next = 0;
		code = admin_ask(c, &r, question, what, take, &rows);
	} while (code == HLK_OK && rows.next != 0);
	buf_free(&bytes);
	return code == HLK_OK && rows.bad ? error_set(c, rows.bad, "%s: a row of the reply is malformed", what) : code;
}

static void put_texts(struct span *out, uint32_t *count, uint32_t max, const char *const *from, size_t n)
{
	*count = (uint32_t)MIN_OF(n, (size_t)max + 1);
	for (uint32_t i = 0; i < MIN_OF(*count, max); i++)
		out[i] = span_str(from[i]);
}

static int put_limits(struct hlk *c, const struct hlk_principal_spec *o, struct access_info *a)
{
	for (size_t i = 0; i < o->limit_count; i++) {
		uint32_t limit = access_limit_find(span_str(o->limits[i].name));
		if (limit == ACCESS_LIMITS)
			return error_set(c, HLK_INVALID_INPUT, "there is no limit of %.60s", o->limits[i].name);
		a->limit_mask |= 1u << limit;
		a->limits[limit] = o->limits[i].value;
	}
	return HLK_OK;
}

static int put_spec(struct hlk *c, const struct hlk_principal_spec *o, struct access_info *a)
{
	*a = (struct access_info){ .disabled = o->disabled > 0, .with_token = o->with_token, .admin = o->admin };
	put_texts(a->certificates, &a->certificate_count, ACCESS_CERTIFICATES, o->certificates, o->certificate_count);
	put_texts(a->vnets, &a->vnet_count, ACCESS_VNETS, o->vnets, o->vnet_count);
	a->uid_count = (uint32_t)MIN_OF(o->uid_count, (size_t)ACCESS_UIDS + 1);
	if (a->uid_count > ACCESS_UIDS || a->vnet_count > ACCESS_VNETS || a->certificate_count > ACCESS_CERTIFICATES)
		return error_set(c, HLK_TOO_BIG, "a principal has at most %d certificate names, %d users and %d vnets", ACCESS_CERTIFICATES,
				 ACCESS_UIDS, ACCESS_VNETS);
	for (uint32_t i = 0; i < a->uid_count; i++)
		a->uids[i] = o->uids[i];
	a->set = (o->certificates ? ACCESS_SET_CERTIFICATES : 0u) | (o->uids ? ACCESS_SET_UIDS : 0u) | (o->vnets ? ACCESS_SET_VNETS : 0u) |
		 (o->disabled ? ACCESS_SET_DISABLED : 0u);
	return put_limits(c, o, a);
}

const char *hlk_broker(const struct hlk *c)
{
	return c->session.broker ? c->session.broker : "";
}

uint32_t hlk_retry_after_ms(const struct hlk *c)
{
	return c->retry_after_ms;
}

int hlk_principal_add(struct hlk *c, const char *name, const struct hlk_principal_spec *spec, hlk_access_fn *each, void *ctx)
{
	struct access_info a;
	int code = put_spec(c, spec, &a);
	return code == HLK_OK ? ask(c, VERB_PRINCIPAL_ADD, name, &a, false, each, ctx, "principal add") : code;
}

int hlk_principal_set(struct hlk *c, const char *name, const struct hlk_principal_spec *spec)
{
	struct access_info a;
	int code = put_spec(c, spec, &a);
	return code == HLK_OK ? ask(c, VERB_PRINCIPAL_SET, name, &a, false, NULL, NULL, "principal set") : code;
}

int hlk_principal_remove(struct hlk *c, const char *name)
{
	return ask(c, VERB_PRINCIPAL_REMOVE, name, NULL, false, NULL, NULL, "principal rm");
}

int hlk_principal_list(struct hlk *c, const char *name, hlk_access_fn *each, void *ctx)
{
	return ask(c, VERB_PRINCIPAL_LIST, name, NULL, true, each, ctx, "principal ls");
}

int hlk_token_add(struct hlk *c, const char *principal, uint64_t lifetime_ms, hlk_access_fn *each, void *ctx)
{
	const struct access_info a = { .lifetime_ms = lifetime_ms };
	return ask(c, VERB_TOKEN_ADD, principal, &a, false, each, ctx, "token add");
}

int hlk_token_rotate(struct hlk *c, uint64_t token, uint64_t lifetime_ms, uint64_t overlap_ms, hlk_access_fn *each, void *ctx)
{
	const struct access_info a = { .token = token, .lifetime_ms = lifetime_ms, .overlap_ms = overlap_ms };
	return ask(c, VERB_TOKEN_ROTATE, NULL, &a, false, each, ctx, "token rotate");
}

int hlk_token_remove(struct hlk *c, uint64_t token)
{
	const struct access_info a = { .token = token };
	return ask(c, VERB_TOKEN_REMOVE, NULL, &a, false, NULL, NULL, "token rm");
}

int hlk_token_list(struct hlk *c, const char *principal, hlk_access_fn *each, void *ctx)
{
	return ask(c, VERB_TOKEN_LIST, principal, NULL, true, each, ctx, "token ls");
}

int hlk_access_token(struct hlk *c, uint64_t lifetime_ms, hlk_access_fn *each, void *ctx)
{
	const struct access_info a = { .lifetime_ms = lifetime_ms };
	return ask(c, VERB_ACCESS_TOKEN, NULL, &a, true, each, ctx, "token access");
}

static int put_rule(struct hlk *c, const struct hlk_rule *o, struct access_info *a)
{
	*a = (struct access_info){ .verbs = access_verbs_parse(o->verbs && o->verbs[0] ? o->verbs : "*"), .deny = o->denies,
				   .target = span_str(o->target && o->target[0] ? o->target : "*"),
				   .vnet = span_str(o->vnet && o->vnet[0] ? o->vnet : "default") };
	if (a->verbs == 0)
		return error_set(c, HLK_INVALID_INPUT, "verbs %.60s: some of submit, serve, publish, subscribe, call, see, control, admin; or *",
				 o->verbs);
	return HLK_OK;
}

int hlk_rule_add(struct hlk *c, const struct hlk_rule *rule)
{
	struct access_info a;
	int code = put_rule(c, rule, &a);
	return code == HLK_OK ? ask(c, VERB_RULE_ADD, rule->principal, &a, false, NULL, NULL, "acl add") : code;
}

int hlk_rule_remove(struct hlk *c, const struct hlk_rule *rule)
{
	struct access_info a;
	int code = put_rule(c, rule, &a);
	return code == HLK_OK ? ask(c, VERB_RULE_REMOVE, rule->principal, &a, false, NULL, NULL, "acl rm") : code;
}

int hlk_rule_list(struct hlk *c, hlk_access_fn *each, void *ctx)
{
	return ask(c, VERB_RULE_LIST, NULL, NULL, true, each, ctx, "acl ls");
}

int hlk_rule_test(struct hlk *c, const struct hlk_rule *question, hlk_access_fn *each, void *ctx)
{
	struct access_info a;
	int code = put_rule(c, question, &a);
	return code == HLK_OK ? ask(c, VERB_ACCESS_TEST, question->principal, &a, true, each, ctx, "acl test") : code;
}
