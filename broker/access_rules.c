/* broker/access_rules.c: which rule counts. In the flow: frame -> permit -> RULES. The order is in access.h; a naive model in
 * tests/unit/test_access.c says the same in other words. */
#include "access_impl.h"

/* How specific a pattern is: a name beats every prefix, a longer prefix a shorter one. */
static uint64_t weight(struct span pattern)
{
	return pattern.data[pattern.len - 1] == '*' ? pattern.len : LIMIT_NAME_BYTES + 1;
}

static uint64_t rule_weight(const struct access_info *r)
{
	uint64_t few = ACCESS_VERBS - (uint64_t)__builtin_popcount(r->verbs);
	return weight(r->name) << 40 | weight(r->target) << 24 | weight(r->vnet) << 8 | few;
}

static bool applies(const struct access_info *r, struct span name, enum access_verb verb, struct span vnet)
{
	return (r->verbs >> verb & 1) != 0 && access_pattern_matches(r->name, name) && access_pattern_matches(r->vnet, vnet);
}

static void decide(const struct access *a, struct span name, enum access_verb verb, struct span target, struct span vnet, bool own,
		   struct verdict *out)
{
	const struct access_info *best = NULL;
	uint64_t best_weight = 0;
	for (uint32_t i = 0; i < a->rules.count; i++) {
		const struct access_info *r = &a->rules.at[i]->info;
		if (!applies(r, name, verb, vnet) || !access_pattern_matches(r->target, target))
			continue;
		uint64_t w = rule_weight(r);
		if (!best || w > best_weight || (w == best_weight && r->deny)) {
			best = r;
			best_weight = w;
		}
	}
	out->why = best ? VERDICT_RULE : own && verb != ACCESS_ADMIN ? VERDICT_OWN_VNET : VERDICT_DEFAULT;
	out->allowed = best ? !best->deny : out->why == VERDICT_OWN_VNET;
	if (best)
		out->rule = *best;
}

void access_decide(const struct access *a, const struct who *who, enum access_verb verb, struct span target, struct span vnet, bool own,
		   struct verdict *out)
{
	if (who->kind == WHO_PRINCIPAL) {
		decide(a, span_str(who->name), verb, target, vnet, own, out);
		return;
	}
	out->allowed = true;
	out->why = who->kind == WHO_LOCAL ? VERDICT_LOCAL : VERDICT_OPEN;
}

void access_decide_name(const struct access *a, struct span name, enum access_verb verb, struct span target, struct span vnet,
			struct verdict *out)
{
	const struct access_item *p = access_principal_named(a, name);
	struct who who = { .kind = WHO_PRINCIPAL };
	*out = (struct verdict){ .why = access_is_open(a) ? VERDICT_OPEN : VERDICT_NOBODY, .allowed = access_is_open(a) };
	if (!p || p->info.disabled)
		return;
	memcpy(who.name, name.data, name.len);
	decide(a, name, verb, target, vnet, access_has_vnet(a, &who, vnet), out);
}

uint32_t access_always(const struct access *a, const struct who *who, struct span vnet)
{
	uint32_t always = ACCESS_ALL & ~(1u << ACCESS_ADMIN), seen = 0;
	if (who->kind != WHO_PRINCIPAL)
		return ACCESS_ALL;
	for (uint32_t i = 0; i < a->rules.count; i++) {
		const struct access_info *r = &a->rules.at[i]->info;
		if (!access_pattern_matches(r->name, span_str(who->name)) || !access_pattern_matches(r->vnet, vnet))
			continue;
		if (r->deny)
			always &= ~r->verbs;
		else if (span_eq(r->target, span_str("*")))
			seen |= r->verbs;
	}
	/* admin is asked for one by one where anything denies it */
	for (uint32_t i = 0; i < a->rules.count; i++)
		if (a->rules.at[i]->info.deny && applies(&a->rules.at[i]->info, span_str(who->name), ACCESS_ADMIN, vnet))
			seen &= ~(1u << ACCESS_ADMIN);
	return always | (seen & 1u << ACCESS_ADMIN);
}

bool access_denied_within(const struct access *a, const struct who *who, enum access_verb verb, struct span pattern, struct span vnet)
{
	if (who->kind != WHO_PRINCIPAL || pattern.data[pattern.len - 1] != '*')
		return false;
	struct span begin = span_sub(pattern, 0, pattern.len - 1);
	for (uint32_t i = 0; i < a->rules.count; i++) {
		const struct access_info *r = &a->rules.at[i]->info;
		bool inside = r->target.len >= begin.len && (begin.len == 0 || memcmp(r->target.data, begin.data, begin.len) == 0);
		if (r->deny && inside && applies(r, span_str(who->name), verb, vnet) && !span_eq(r->target, pattern))
			return true;
	}
	return false;
}
