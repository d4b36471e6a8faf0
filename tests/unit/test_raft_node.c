/* tests/unit/test_raft_node.c: libraft behind its guards, driven with hand-made messages. Each guard has a test that fails
 * when the guard is taken out of raft_node.c (CLAMP and TRIM cover for each other in one case: noted there). */
#include "../../storage/raft_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { LOG_MAX = 64 };

struct seen {
	struct { uint64_t term; enum raft_entry_type type; } log[LOG_MAX]; /* by index */
	uint64_t last;          /* index */
	uint64_t entries_index; /* of the last entries hook */
	unsigned entries_count, entries_calls;
	uint64_t term, vote, commit, commit_lowest_step;
	unsigned hard_states, messages, installs;
	struct raft_message message; /* the last one */
	uint64_t install_index;
	char order[64];         /* which hooks ran */
};

static void mark(struct seen *s, char what)
{
	size_t len = strlen(s->order);

	if (len + 1 < sizeof s->order)
		s->order[len] = what;
}

static void on_hard_state(void *ctx, uint64_t term, uint64_t voted_for)
{
	struct seen *s = ctx;

	mark(s, 'h');
	s->term = term;
	s->vote = voted_for;
	s->hard_states++;
}

static void on_entries(void *ctx, uint64_t index, const struct raft_entry *entries, unsigned count)
{
	struct seen *s = ctx;

	mark(s, 'e');
	s->entries_index = index;
	s->entries_count = count;
	s->entries_calls++;
	s->last = index - 1;
	for (unsigned i = 0; i < count; i++) {
		s->last++;
		assert_true(s->last < LOG_MAX);
		s->log[s->last].term = entries[i].term;
		s->log[s->last].type = entries[i].type;
	}
}

static void on_install(void *ctx, const struct raft_snapshot_metadata *metadata, struct span chunk)
{
	struct seen *s = ctx;

	mark(s, 'i');
	s->installs++;
	s->install_index = metadata->index;
	assert_int_equal(chunk.len, 3);
}

static void on_message(void *ctx, const struct raft_message *message)
{
	struct seen *s = ctx;

	mark(s, 'm');
	s->messages++;
	s->message = *message;
}

static void on_commit(void *ctx, uint64_t index)
{
	struct seen *s = ctx;

	mark(s, 'c');
	s->commit = index;
}

static struct raft_node *new_node(struct seen *s)
{
	struct raft_node_config config = {
		.id = 1, .address = "one", .election_ms = 1000, .heartbeat_ms = 100, .inflight_max = 64, .seed = 7,
		.hooks = { s, on_hard_state, on_entries, on_install, on_message, on_commit },
	};

	memset(s, 0, sizeof *s);
	return raft_node_new(&config);
}

/* Encodes a configuration: roles of servers 1, 2, 3 ...; 'v', 'b' (standby), 's' (spare), '-' (not in it). */
static struct raft_buffer members(const char *roles)
{
	static const char *const addresses[] = { "one", "two", "three", "four" };
	struct raft_configuration configuration;
	struct raft_buffer bytes;

	raft_configuration_init(&configuration);
	for (size_t i = 0; roles[i]; i++) {
		int role = roles[i] == 'v' ? RAFT_VOTER : roles[i] == 'b' ? RAFT_STANDBY : RAFT_SPARE;
		if (roles[i] != '-')
			assert_int_equal(raft_configuration_add(&configuration, i + 1, addresses[i], role), 0);
	}
	assert_int_equal(raft_configuration_encode(&configuration, &bytes), 0);
	raft_configuration_close(&configuration);
	return bytes;
}

/* Starts on a log whose first entry is this configuration, followed by `commands` entries of term 1. */
static void start_on(struct raft_node *node, const char *roles, uint64_t term, unsigned commands)
{
	struct raft_entry entries[LOG_MAX] = { { .term = 1, .type = RAFT_CHANGE, .buf = members(roles) } };

	for (unsigned i = 0; i < commands; i++)
		entries[i + 1] = (struct raft_entry){ .term = 1, .type = RAFT_COMMAND };
	struct raft_node_start start = {
		.term = term, .start_index = 1, .entries = entries, .count = commands + 1,
	};
	assert_int_equal(raft_node_start(node, 1000, &start), 0);
	raft_free(entries[0].buf.base);
}

static struct raft_entry command(uint64_t term)
{
	static char body[8];

	return (struct raft_entry){ .term = term, .type = RAFT_COMMAND, .buf = { body, sizeof body } };
}

static struct raft_entry change(uint64_t term, const char *roles)
{
	return (struct raft_entry){ .term = term, .type = RAFT_CHANGE, .buf = members(roles) };
}

struct append { uint64_t term, prev, prev_term, commit; };

static int append(struct raft_node *node, struct append m, struct raft_entry *entries, unsigned count)
{
	struct raft_message message = {
		.type = RAFT_APPEND_ENTRIES, .server_id = 2, .server_address = "two",
		.append_entries = {
			.version = 1, .term = m.term, .prev_log_index = m.prev, .prev_log_term = m.prev_term,
			.leader_commit = m.commit, .entries = entries, .n_entries = count,
		},
	};
	int res = raft_node_receive(node, 2000, &message);

	for (unsigned i = 0; i < count; i++)
		if (entries[i].type == RAFT_CHANGE)
			raft_free(entries[i].buf.base);
	return res;
}

static void win_election(struct raft_node *node, struct seen *s)
{
	raft_set_pre_vote(raft_node_raft(node), false);
	assert_int_equal(raft_node_tick(node, 10000), 0);
	uint64_t term = raft_node_term(node);
	assert_int_equal(s->term, term);
	struct raft_message message = {
		.type = RAFT_REQUEST_VOTE_RESULT, .server_id = 2, .server_address = "two",
		.request_vote_result = { .version = 2, .term = term, .vote_granted = true },
	};
	assert_int_equal(raft_node_receive(node, 10001, &message), 0);
	assert_true(raft_node_leads(node));
}

static void acknowledge(struct raft_node *node, uint64_t id, uint64_t index)
{
	struct raft_message message = {
		.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = id, .server_address = id == 2 ? "two" : "three",
		.append_entries_result = { .version = 1, .term = raft_node_term(node), .last_log_index = index },
	};
	assert_int_equal(raft_node_receive(node, 10002, &message), 0);
}

/* ---- ONEV ---- */

static void test_a_sole_voter_takes_a_new_durable_term_before_it_leads(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "v", 5, 3);
	assert_true(raft_node_leads(node));
	assert_int_equal(raft_node_term(node), 6);
	assert_int_equal(s.term, 6);
	assert_int_equal(s.vote, 1);
	assert_int_equal(s.hard_states, 1);
	assert_int_equal(s.order[0], 'h'); /* durable before anything else is asked for */
	raft_node_free(node);
}

static void test_a_follower_that_becomes_the_only_voter_does_not_lead_in_its_old_term(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vv", 1, 0);
	struct raft_entry entries[] = { change(1, "vb") };
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 1 }, entries, 1), 0);
	assert_int_equal(raft_node_persisted(node, 2001, 2), 0);
	assert_true(raft_node_must_restart(node));
	assert_int_equal(raft_node_tick(node, 60000), 0);
	assert_false(raft_node_leads(node));
	raft_node_free(node);
}

/* ---- CLAMP, TRIM ---- */

/* Either guard is enough here: the library would take min(leader_commit, prev + n) = 2 over its own 6. */
static void test_the_commit_index_never_moves_backwards(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 5);
	assert_int_equal(append(node, (struct append){ 1, 6, 1, 6 }, NULL, 0), 0);
	assert_int_equal(raft_node_commit(node), 6);
	assert_int_equal(append(node, (struct append){ 1, 2, 1, 9 }, NULL, 0), 0);
	assert_int_equal(raft_node_commit(node), 6);
	raft_node_free(node);
}

static void test_the_commit_index_stays_within_what_a_message_has_shown(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 5);
	struct raft_entry entries[] = { command(1) };
	assert_int_equal(append(node, (struct append){ 1, 2, 1, 100 }, entries, 1), 0);
	assert_int_equal(raft_node_commit(node), 3);
	raft_node_free(node);
}

static void test_a_message_that_reaches_below_a_compaction_appends_only_what_is_new(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_buffer configuration = members("vvv");

	(void)state;
	start_on(node, "vvv", 1, 5);
	assert_int_equal(append(node, (struct append){ 1, 6, 1, 6 }, NULL, 0), 0);
	assert_int_equal(raft_node_snapshot(node, 2000, 6, 1, span_of(configuration.base, configuration.len), 0), 0);
	raft_free(configuration.base);
	struct raft_entry entries[8] = { change(1, "vvv") };
	for (int i = 1; i < 8; i++)
		entries[i] = command(1);
	unsigned before = s.entries_calls;
	assert_int_equal(append(node, (struct append){ 1, 0, 0, 6 }, entries, 8), 0);
	assert_int_equal(s.entries_calls, before + 1);
	assert_int_equal(s.entries_index, 7);
	assert_int_equal(s.entries_count, 2);
	assert_int_equal(raft_node_commit(node), 6);
	raft_node_free(node);
}

static void test_a_heartbeat_below_a_compaction_is_answered_with_success(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_buffer configuration = members("vvv");

	(void)state;
	start_on(node, "vvv", 1, 5);
	assert_int_equal(append(node, (struct append){ 1, 6, 1, 6 }, NULL, 0), 0);
	assert_int_equal(raft_node_snapshot(node, 2000, 6, 1, span_of(configuration.base, configuration.len), 0), 0);
	raft_free(configuration.base);
	assert_int_equal(append(node, (struct append){ 1, 3, 1, 6 }, NULL, 0), 0);
	assert_int_equal(s.message.type, RAFT_APPEND_ENTRIES_RESULT);
	assert_int_equal(s.message.append_entries_result.rejected, 0);
	assert_int_equal(s.message.append_entries_result.last_log_index, 6);
	raft_node_free(node);
}

/* ---- SPLIT ---- */

static void test_a_change_inside_a_message_is_booked_at_its_own_index(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 0);
	struct raft_entry entries[] = { command(1), command(1), change(1, "vvvs"), command(1) };
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 1 }, entries, 4), 0);
	assert_int_equal(raft_node_raft(node)->configuration_uncommitted_index, 4);
	assert_int_equal(raft_node_raft(node)->configuration.n, 4);
	assert_int_equal(s.last, 5);
	raft_node_free(node);
}

static void test_an_overwritten_change_inside_a_message_is_rolled_back(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 0);
	struct raft_entry entries[] = { command(1), command(1), change(1, "vvvs") };
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 1 }, entries, 3), 0);
	assert_int_equal(raft_node_persisted(node, 2001, 4), 0);
	struct raft_entry newer[] = { command(2) };
	assert_int_equal(append(node, (struct append){ 2, 3, 1, 1 }, newer, 1), 0);
	assert_int_equal(raft_node_raft(node)->configuration_uncommitted_index, 0);
	assert_int_equal(raft_node_raft(node)->configuration.n, 3);
	assert_int_equal(s.last, 4);
	assert_int_equal(s.log[4].term, 2);
	raft_node_free(node);
}

static void test_a_second_change_records_the_first_as_committed(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 0);
	struct raft_entry entries[] = { change(1, "vvvs"), command(1), change(1, "vvvb") };
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 1 }, entries, 3), 0);
	struct raft *raft = raft_node_raft(node);
	assert_int_equal(raft->configuration_committed_index, 2);
	assert_int_equal(raft->configuration_committed.servers[3].role, RAFT_SPARE);
	assert_int_equal(raft->configuration_uncommitted_index, 4);
	/* A rollback now gives the first change, not the configuration before it. */
	struct raft_entry newer[] = { command(2) };
	assert_int_equal(append(node, (struct append){ 2, 3, 1, 1 }, newer, 1), 0);
	assert_int_equal(raft->configuration.n, 4);
	assert_int_equal(raft->configuration.servers[3].role, RAFT_SPARE);
	raft_node_free(node);
}

/* ---- BARRIER ---- */

static void test_a_new_leader_proposes_a_barrier_and_changes_nothing_before_it_is_committed(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_node_member newcomer = { .id = 4, .address = "four" };

	(void)state;
	start_on(node, "vvv", 1, 0); /* nothing uncommitted: the library alone would propose nothing */
	win_election(node, &s);
	assert_int_equal(s.log[2].type, RAFT_BARRIER);
	assert_int_equal(s.log[2].term, raft_node_term(node));
	assert_int_equal(raft_node_change(node, 10001, RAFT_NODE_ADD, &newcomer), RAFT_CANTCHANGE);
	assert_int_equal(raft_node_persisted(node, 10001, 2), 0);
	assert_int_equal(raft_node_change(node, 10001, RAFT_NODE_ADD, &newcomer), RAFT_CANTCHANGE);
	acknowledge(node, 2, 2);
	assert_int_equal(raft_node_commit(node), 2);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ADD, &newcomer), 0);
	assert_int_equal(s.log[3].type, RAFT_CHANGE);
	raft_node_free(node);
}

/* ---- VOTE ---- */

static void test_a_standby_grants_its_vote_because_the_candidate_may_know_it_as_a_voter(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "bvv", 1, 0);
	struct raft_message message = {
		.type = RAFT_REQUEST_VOTE, .server_id = 2, .server_address = "two",
		.request_vote = { .version = 2, .term = 2, .candidate_id = 2, .last_log_index = 5, .last_log_term = 1 },
	};
	assert_int_equal(raft_node_receive(node, 2000, &message), 0);
	assert_int_equal(s.message.type, RAFT_REQUEST_VOTE_RESULT);
	assert_true(s.message.request_vote_result.vote_granted);
	assert_int_equal(s.term, 2);
	assert_int_equal(s.vote, 2);
	const char *hard = strchr(s.order, 'h');
	assert_non_null(hard);
	assert_true(hard < strchr(s.order, 'm')); /* durable before it is sent */
	assert_int_equal(raft_node_raft(node)->configuration.servers[0].role, RAFT_STANDBY);
	raft_node_free(node);
}

static void test_a_server_outside_its_own_configuration_grants_its_vote_once(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "-vv", 1, 0);
	struct raft_message message = {
		.type = RAFT_REQUEST_VOTE, .server_id = 2, .server_address = "two",
		.request_vote = { .version = 2, .term = 2, .candidate_id = 2, .last_log_index = 5, .last_log_term = 1 },
	};
	assert_int_equal(raft_node_receive(node, 2000, &message), 0);
	assert_true(s.message.request_vote_result.vote_granted);
	message.server_id = message.request_vote.candidate_id = 3;
	message.server_address = "three";
	assert_int_equal(raft_node_receive(node, 2000, &message), 0);
	assert_false(s.message.request_vote_result.vote_granted);
	assert_int_equal(raft_node_raft(node)->configuration.n, 2);
	raft_node_free(node);
}

/* ---- OPS ---- */

static void lead_committed(struct raft_node *node, struct seen *s, const char *roles)
{
	start_on(node, roles, 1, 0);
	win_election(node, s);
	assert_int_equal(raft_node_persisted(node, 10001, 2), 0);
	acknowledge(node, 2, 2);
	assert_int_equal(raft_node_commit(node), 2);
}

static void test_the_leader_refuses_changes_of_itself(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_node_member self = { .id = 1, .role = RAFT_STANDBY };

	(void)state;
	lead_committed(node, &s, "vvv");
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_REMOVE, &self), RAFT_BADID);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ASSIGN, &self), RAFT_BADID);
	assert_int_equal(s.last, 2);
	raft_node_free(node);
}

static void test_the_leader_keeps_two_voters_and_makes_no_spares(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_node_member two = { .id = 2, .role = RAFT_STANDBY }, three = { .id = 3, .role = RAFT_SPARE };
	struct raft_node_member stranger = { .id = 9, .role = RAFT_VOTER };

	(void)state;
	lead_committed(node, &s, "vvb");
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ASSIGN, &two), RAFT_BADROLE);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_REMOVE, &two), RAFT_BADROLE);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ASSIGN, &three), RAFT_BADROLE);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ASSIGN, &stranger), RAFT_BADID);
	assert_int_equal(s.last, 2);
	raft_node_free(node);
}

static void test_one_change_at_a_time(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_node_member four = { .id = 4, .address = "four" }, again = { .id = 3, .role = RAFT_STANDBY };

	(void)state;
	lead_committed(node, &s, "vvv");
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ADD, &four), 0);
	assert_int_equal(raft_node_change(node, 10003, RAFT_NODE_ASSIGN, &again), RAFT_CANTCHANGE);
	assert_int_equal(raft_node_persisted(node, 10004, 3), 0);
	acknowledge(node, 2, 3);
	struct raft_buffer configuration = members("vvvs");
	assert_int_equal(raft_node_configured(node, 10005, 3, span_of(configuration.base, configuration.len)), 0);
	raft_free(configuration.base);
	assert_int_equal(raft_node_change(node, 10006, RAFT_NODE_ADD, &four), RAFT_DUPLICATEID);
	assert_int_equal(raft_node_change(node, 10006, RAFT_NODE_ASSIGN, &again), 0);
	raft_node_free(node);
}

/* ---- TIMER ---- */

static void test_the_timer_never_stands_in_the_past(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	lead_committed(node, &s, "vvb");
	/* As a leader of another version might: server 3 becomes a spare, which is never sent anything again. */
	struct raft_entry entry = change(raft_node_term(node), "vvs");
	entry.batch = entry.buf.base;
	struct raft_event event = {
		.time = 10003, .type = RAFT_SUBMIT, .capacity = UINT16_MAX, .submit = { &entry, 1 },
	};
	struct raft_update update;
	assert_int_equal(raft_step(raft_node_raft(node), &event, &update), 0);
	raft_free(entry.buf.base);
	for (uint64_t now = 10100; now < 13000; now += 100) {
		acknowledge(node, 2, 3);
		assert_int_equal(raft_node_tick(node, now), 0);
		assert_true(raft_node_timeout(node) > now);
	}
	raft_node_free(node);
}

/* ---- the rest of the contract ---- */

static void test_entries_are_asked_for_before_the_commit_that_covers_them(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 0);
	memset(s.order, 0, sizeof s.order);
	struct raft_entry entries[] = { command(1) };
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 2 }, entries, 1), 0);
	assert_string_equal(s.order, "ec");
	raft_node_free(node);
}

static void test_malformed_messages_are_dropped(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 0);
	struct raft_entry bad_term[] = { command(0) }, future[] = { command(9) };
	struct raft_entry bad_change[] = { { .term = 1, .type = RAFT_CHANGE } };
	unsigned messages = s.messages;
	assert_int_equal(append(node, (struct append){ 1, 0, 7, 0 }, NULL, 0), 0);
	assert_int_equal(append(node, (struct append){ 1, 5, 0, 0 }, NULL, 0), 0);
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 0 }, bad_term, 1), 0);
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 0 }, future, 1), 0);
	assert_int_equal(append(node, (struct append){ 1, 1, 1, 0 }, bad_change, 1), 0);
	assert_int_equal(s.messages, messages);
	assert_int_equal(s.entries_calls, 0);
	raft_node_free(node);
}

static void test_a_conflict_with_what_is_committed_stops_the_node(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);

	(void)state;
	start_on(node, "vvv", 1, 5);
	assert_int_equal(append(node, (struct append){ 1, 4, 1, 4 }, NULL, 0), 0);
	struct raft_node_start start = { .term = 1 };
	(void)start;
	/* The leader claims another term for an entry at our commit index. */
	assert_int_equal(append(node, (struct append){ 3, 4, 3, 4 }, NULL, 0), RAFT_SHUTDOWN);
	assert_int_equal(append(node, (struct append){ 3, 6, 1, 4 }, NULL, 0), RAFT_SHUTDOWN);
	raft_node_free(node);
}

static void test_a_snapshot_is_installed_once_and_acknowledged(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_buffer encoded = members("vvv");
	struct raft_configuration configuration;

	(void)state;
	start_on(node, "vvv", 1, 0);
	assert_int_equal(raft_configuration_decode(&encoded, &configuration), 0);
	char data[3] = "abc";
	struct raft_message message = {
		.type = RAFT_INSTALL_SNAPSHOT, .server_id = 2, .server_address = "two",
		.install_snapshot = { .version = 0, .term = 1, .last_index = 9, .last_term = 1, .conf = configuration,
				      .conf_index = 1, .data = { data, sizeof data } },
	};
	assert_int_equal(raft_node_receive(node, 2000, &message), 0);
	assert_int_equal(s.installs, 1);
	assert_int_equal(s.install_index, 9);
	assert_int_equal(raft_node_receive(node, 2000, &message), 0);
	assert_int_equal(s.installs, 1);
	struct raft_snapshot_metadata metadata = {
		.index = 9, .term = 1, .configuration = configuration, .configuration_index = 1,
	};
	assert_int_equal(raft_node_installed(node, 2001, &metadata), 0);
	assert_int_equal(raft_node_commit(node), 9);
	assert_int_equal(s.message.append_entries_result.last_log_index, 9);
	raft_configuration_close(&configuration);
	raft_free(encoded.base);
	raft_node_free(node);
}

static void test_a_log_that_does_not_start_with_its_members_is_refused(void **state)
{
	struct seen s;
	struct raft_node *node = new_node(&s);
	struct raft_entry entries[] = { command(1) };
	struct raft_node_start start = { .term = 1, .start_index = 1, .entries = entries, .count = 1 };

	(void)state;
	assert_int_equal(raft_node_start(node, 1000, &start), RAFT_CORRUPT);
	raft_node_free(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sole_voter_takes_a_new_durable_term_before_it_leads),
		cmocka_unit_test(test_a_follower_that_becomes_the_only_voter_does_not_lead_in_its_old_term),
		cmocka_unit_test(test_the_commit_index_never_moves_backwards),
		cmocka_unit_test(test_the_commit_index_stays_within_what_a_message_has_shown),
		cmocka_unit_test(test_a_message_that_reaches_below_a_compaction_appends_only_what_is_new),
		cmocka_unit_test(test_a_heartbeat_below_a_compaction_is_answered_with_success),
		cmocka_unit_test(test_a_change_inside_a_message_is_booked_at_its_own_index),
		cmocka_unit_test(test_an_overwritten_change_inside_a_message_is_rolled_back),
		cmocka_unit_test(test_a_second_change_records_the_first_as_committed),
		cmocka_unit_test(test_a_new_leader_proposes_a_barrier_and_changes_nothing_before_it_is_committed),
		cmocka_unit_test(test_a_standby_grants_its_vote_because_the_candidate_may_know_it_as_a_voter),
		cmocka_unit_test(test_a_server_outside_its_own_configuration_grants_its_vote_once),
		cmocka_unit_test(test_the_leader_refuses_changes_of_itself),
		cmocka_unit_test(test_the_leader_keeps_two_voters_and_makes_no_spares),
		cmocka_unit_test(test_one_change_at_a_time),
		cmocka_unit_test(test_the_timer_never_stands_in_the_past),
		cmocka_unit_test(test_entries_are_asked_for_before_the_commit_that_covers_them),
		cmocka_unit_test(test_malformed_messages_are_dropped),
		cmocka_unit_test(test_a_conflict_with_what_is_committed_stops_the_node),
		cmocka_unit_test(test_a_snapshot_is_installed_once_and_acknowledged),
		cmocka_unit_test(test_a_log_that_does_not_start_with_its_members_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
