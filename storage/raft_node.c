/* storage/raft_node.c: every call into libraft, and the guards around it. docs/adr/0002 says why.
 *
 * Data flow: log.c -> submit / persisted -> raft_step -> hooks -> log.c. Guards, by name, and what goes wrong without:
 *
 *  CLAMP    a commit index beyond what the message has shown is not taken over; bare, it can later move backwards.
 *  TRIM     entries at or below our commit index are dropped before the library sees them; bare, a message that reaches
 *           below a compaction re-appends or truncates what is committed.
 *  SPLIT    a RAFT_CHANGE is delivered as the first entry of its message, and an older unrecorded one is recorded as
 *           committed before; bare, the change is booked under the wrong index and never rolled back or refused for ever.
 *  ONEV     a sole voter takes a new durable term at every start; bare, it leads again in its old term, and two different
 *           entries can carry the same index and term.
 *  BARRIER  a leader proposes a barrier at once and changes nothing in the membership until an entry of its own term is
 *           committed; bare, two majorities can commit different histories.
 *  VOTE     a follower that is no voter by its own, older configuration answers vote requests as a voter; bare, an
 *           interrupted promotion blocks elections for ever.
 *  OPS      no change that the library cannot survive: of the leader itself, to fewer than two voters, two at a time.
 *  TIMER    the timer never stands in the past.
 *
 * 1. Hooks run after raft_step has returned, in the order hard state, entries, install, messages, commit.
 * 2. Bytes of entries are never the library's: it gets a token as their `batch`, which it may free. */
#include "raft_node.h"

struct raft_node {
	struct raft raft;
	struct raft_node_hooks hooks;
	uint64_t last_tick_ms;
	uint64_t own_index;    /* of the first entry of this term, as leader; 0 = none yet */
	bool started, failed;
};

struct raft_node *raft_node_new(const struct raft_node_config *config)
{
	struct raft_node *node = (struct raft_node *)calloc(1, sizeof *node);

	ENSURE(node != NULL);
	int res = raft_init(&node->raft, NULL, NULL, config->id, config->address);
	ENSURE(res == 0);
	node->raft.tracer = NULL; /* the default one formats into static memory at every step, even when it is off */
	node->hooks = config->hooks;
	raft_seed(&node->raft, config->seed);
	raft_set_election_timeout(&node->raft, config->election_ms);
	raft_set_heartbeat_timeout(&node->raft, config->heartbeat_ms);
	raft_set_max_inflight_entries(&node->raft, config->inflight_max);
	raft_set_pre_vote(&node->raft, true);
	return node;
}

void raft_node_free(struct raft_node *node)
{
	if (!node)
		return;
	raft_close(&node->raft, NULL);
	free(node);
}

/* ---- steps ---- */

static void dispatch(struct raft_node *node, const struct raft_update *update)
{
	const struct raft_node_hooks *hooks = &node->hooks;
	struct raft *raft = &node->raft;

	if (raft->state != RAFT_LEADER)
		node->own_index = 0;
	if (update->flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR))
		hooks->hard_state(hooks->ctx, raft->current_term, raft->voted_for);
	if (update->flags & RAFT_UPDATE_ENTRIES) {
		hooks->entries(hooks->ctx, update->entries.index, update->entries.batch, update->entries.n);
		if (raft->state == RAFT_LEADER && node->own_index == 0)
			node->own_index = update->entries.index;
		if (update->entries.batch == &raft->barrier)
			raft_free(raft->barrier.buf.base); /* its eight bytes are ours now */
	}
	if (update->flags & RAFT_UPDATE_SNAPSHOT) {
		struct span chunk = span_of(update->snapshot.chunk.base, update->snapshot.chunk.len);
		hooks->install(hooks->ctx, &update->snapshot.metadata, chunk);
	}
	if (update->flags & RAFT_UPDATE_MESSAGES)
		for (unsigned i = 0; i < update->messages.n; i++)
			hooks->message(hooks->ctx, &update->messages.batch[i]);
	if (update->flags & RAFT_UPDATE_COMMIT_INDEX)
		hooks->commit(hooks->ctx, raft->commit_index);
}

static int step_once(struct raft_node *node, uint64_t now_ms, struct raft_event *event, struct raft_update *update)
{
	event->time = now_ms;
	event->capacity = UINT16_MAX;
	memset(update, 0, sizeof *update);
	if (node->failed)
		return RAFT_SHUTDOWN;
	int res = raft_step(&node->raft, event, update);
	if (res == RAFT_SHUTDOWN)
		node->failed = true;
	return res;
}

/* Steps, carries out, and proposes the barrier where this step made us leader (BARRIER). */
static int step(struct raft_node *node, uint64_t now_ms, struct raft_event *event, struct raft_update *update)
{
	bool led = node->raft.state == RAFT_LEADER;
	int res = step_once(node, now_ms, event, update);
	if (res != 0)
		return res;
	if (!led)
		node->own_index = 0;
	dispatch(node, update);
	if (led || node->raft.state != RAFT_LEADER || node->own_index != 0)
		return 0;

	uint64_t zero = 0;
	struct raft_entry barrier = {
		.term = raft_current_term(&node->raft), .type = RAFT_BARRIER,
		.buf = { &zero, sizeof zero }, .batch = &zero,
	};
	struct raft_event submit = { .type = RAFT_SUBMIT, .submit = { &barrier, 1 } };
	struct raft_update more;
	res = step_once(node, now_ms, &submit, &more);
	if (res == 0)
		dispatch(node, &more);
	return res;
}

/* The token that stands for the memory of a message's entries. */
static void *token_new(void)
{
	void *token = raft_malloc(8);

	ENSURE(token != NULL);
	return token;
}

/* ---- configurations ---- */

/* raft_configuration_decode trusts its input: it checks neither the length nor the count. */
static bool configuration_is_sane(struct span bytes)
{
	struct reader r = { .rest = bytes };
	uint8_t format = read_u8(&r);
	uint64_t count = read_u64(&r);

	if (r.failed || format != 1 || count > 1024)
		return false;
	for (uint64_t i = 0; i < count; i++) {
		if (read_u64(&r) == 0 || r.failed)
			return false;
		const uint8_t *end = r.rest.len > 0 ? memchr(r.rest.data, 0, r.rest.len) : NULL;
		if (!end)
			return false;
		(void)read_bytes(&r, (size_t)(end - r.rest.data) + 1);
		if (read_u8(&r) > RAFT_SPARE || r.failed)
			return false;
	}
	return true;
}

int raft_node_decode_members(struct span bytes, struct raft_configuration *out)
{
	struct raft_buffer buffer = { (void *)(uintptr_t)bytes.data, bytes.len };

	raft_configuration_init(out);
	if (!configuration_is_sane(bytes))
		return RAFT_MALFORMED;
	int res = raft_configuration_decode(&buffer, out);
	if (res != 0)
		raft_configuration_init(out); /* closed by the library */
	return res;
}

static void copy_configuration(const struct raft_configuration *from, struct raft_configuration *out)
{
	raft_configuration_init(out);
	for (unsigned i = 0; i < from->n; i++) {
		const struct raft_server *server = &from->servers[i];
		int res = raft_configuration_add(out, server->id, server->address, server->role);
		ENSURE(res == 0);
	}
}

static struct raft_server *find_server(const struct raft_configuration *configuration, raft_id id)
{
	for (unsigned i = 0; i < configuration->n; i++)
		if (configuration->servers[i].id == id)
			return &configuration->servers[i];
	return NULL;
}

static unsigned count_voters(const struct raft_configuration *configuration)
{
	unsigned voters = 0;

	for (unsigned i = 0; i < configuration->n; i++)
		voters += configuration->servers[i].role == RAFT_VOTER;
	return voters;
}

static bool is_sole_voter(const struct raft_configuration *configuration, raft_id id)
{
	const struct raft_server *self = find_server(configuration, id);

	return self && self->role == RAFT_VOTER && count_voters(configuration) == 1;
}

/* ---- start ---- */

/* The newest configuration among what is started with. */
static int latest_configuration(const struct raft_node_start *start, struct raft_configuration *out)
{
	for (unsigned i = start->count; i > 0; i--) {
		const struct raft_entry *entry = &start->entries[i - 1];
		if (entry->type == RAFT_CHANGE)
			return raft_node_decode_members(span_of(entry->buf.base, entry->buf.len), out);
	}
	raft_configuration_init(out);
	return start->snapshot_index != 0 ? raft_node_decode_members(start->configuration, out) : 0;
}

int raft_node_start(struct raft_node *node, uint64_t now_ms, const struct raft_node_start *start)
{
	struct raft_snapshot_metadata metadata = {
		.index = start->snapshot_index, .term = start->snapshot_term,
		.configuration_index = start->configuration_index,
	};
	struct raft_event event = {
		.type = RAFT_START,
		.start = {
			.term = start->term, .voted_for = start->voted_for,
			.metadata = start->snapshot_index != 0 ? &metadata : NULL,
			.start_index = start->start_index,
			.entries = (struct raft_entry *)(uintptr_t)start->entries, .n_entries = start->count,
		},
	};
	struct raft_configuration latest;
	struct raft_update update;

	ENSURE(!node->started);
	/* What the library would only assert, and its asserts are compiled out. */
	if (start->count > 0 && start->snapshot_index == 0 &&
	    (start->start_index != 1 || start->entries[0].type != RAFT_CHANGE))
		return RAFT_CORRUPT;
	if (start->start_index == 0 || start->start_index > start->snapshot_index + 1)
		return RAFT_CORRUPT;
	int res = latest_configuration(start, &latest);
	if (res != 0)
		return res;
	if (is_sole_voter(&latest, node->raft.id)) { /* ONEV */
		event.start.term = start->term + 1;
		event.start.voted_for = node->raft.id;
		node->hooks.hard_state(node->hooks.ctx, event.start.term, event.start.voted_for);
	}
	raft_configuration_close(&latest);
	if (start->snapshot_index != 0) {
		res = raft_node_decode_members(start->configuration, &metadata.configuration);
		if (res != 0)
			return res;
	}
	node->started = true;
	node->last_tick_ms = now_ms;
	return step(node, now_ms, &event, &update);
}

/* ---- local events ---- */

int raft_node_submit(struct raft_node *node, uint64_t now_ms, enum raft_entry_type type, struct span bytes)
{
	struct raft_entry entry = {
		.term = raft_current_term(&node->raft), .type = type,
		.buf = { (void *)(uintptr_t)bytes.data, bytes.len },
		.batch = (void *)(uintptr_t)bytes.data,
	};
	struct raft_event event = { .type = RAFT_SUBMIT, .submit = { &entry, 1 } };
	struct raft_update update;

	ENSURE(bytes.data != NULL);
	ENSURE(type != RAFT_CHANGE); /* those go through raft_node_change */
	return step(node, now_ms, &event, &update);
}

int raft_node_persisted(struct raft_node *node, uint64_t now_ms, uint64_t index)
{
	struct raft_event event = { .type = RAFT_PERSISTED_ENTRIES, .persisted_entries = { index } };
	struct raft_update update;

	if (index <= node->raft.last_stored)
		return 0;
	return step(node, now_ms, &event, &update);
}

int raft_node_tick(struct raft_node *node, uint64_t now_ms)
{
	struct raft_event event = { .type = RAFT_TIMEOUT };
	struct raft_update update;

	node->last_tick_ms = now_ms;
	if (raft_node_must_restart(node)) /* ONEV: or it would lead in a term it has already followed in */
		return 0;
	return step(node, now_ms, &event, &update);
}

int raft_node_configured(struct raft_node *node, uint64_t now_ms, uint64_t index, struct span configuration)
{
	struct raft_event event = { .type = RAFT_CONFIGURATION, .configuration = { .index = index } };
	struct raft_update update;

	int res = raft_node_decode_members(configuration, &event.configuration.conf);
	return res != 0 ? res : step(node, now_ms, &event, &update);
}

int raft_node_snapshot(struct raft_node *node, uint64_t now_ms, uint64_t index, uint64_t configuration_index,
		       struct span configuration, unsigned trailing)
{
	struct raft_event event = {
		.type = RAFT_SNAPSHOT,
		.snapshot = { { .index = index, .configuration_index = configuration_index }, trailing },
	};
	struct raft_update update;

	if (index <= node->raft.trail.snapshot.index)
		return 0; /* an installed one is newer */
	int res = raft_node_decode_members(configuration, &event.snapshot.metadata.configuration);
	return res != 0 ? res : step(node, now_ms, &event, &update);
}

int raft_node_installed(struct raft_node *node, uint64_t now_ms, const struct raft_snapshot_metadata *metadata)
{
	struct raft_event event = { .type = RAFT_PERSISTED_SNAPSHOT };
	struct raft_update update;

	event.persisted_snapshot.metadata = *metadata;
	copy_configuration(&metadata->configuration, &event.persisted_snapshot.metadata.configuration);
	event.persisted_snapshot.last = true;
	return step(node, now_ms, &event, &update);
}

/* ---- messages ---- */

/* The term of our entry at index, 0 where the library does not know it. As the library's own look-up. */
static raft_term term_of(const struct raft *raft, raft_index index)
{
	const struct raft_trail *trail = &raft->trail;

	if (index == 0)
		return 0;
	if (index > trail->offset)
		for (unsigned i = trail->front; i != trail->back; i = (i + 1) % trail->size)
			if (index <= trail->records[i].index)
				return trail->records[i].term;
	return index == trail->snapshot.index ? trail->snapshot.term : 0;
}

static bool append_is_sane(const struct raft_append_entries *m)
{
	if (m->term == 0 || (m->prev_log_index == 0) != (m->prev_log_term == 0))
		return false;
	if (m->prev_log_index > UINT64_MAX / 2 || (m->n_entries > 0 && m->entries == NULL))
		return false;
	for (unsigned i = 0; i < m->n_entries; i++) {
		const struct raft_entry *entry = &m->entries[i];
		if (entry->term == 0 || entry->term > m->term)
			return false;
		if (entry->type < RAFT_COMMAND || entry->type > RAFT_CHANGE)
			return false;
		struct raft_configuration configuration;
		if (entry->type == RAFT_CHANGE) {
			if (raft_node_decode_members(span_of(entry->buf.base, entry->buf.len), &configuration) != 0)
				return false;
			raft_configuration_close(&configuration);
		}
	}
	return true;
}

/* SPLIT: a leader appends a change only when the one before is committed. So where the log matches up to here, an older
 * change that we have not recorded yet is committed, and must be recorded before the new one takes its place. */
static int record_older_change(struct raft_node *node, uint64_t now_ms, const struct raft_append_entries *m)
{
	struct raft *raft = &node->raft;
	raft_index older = raft->configuration_uncommitted_index;

	if (m->n_entries == 0 || m->entries[0].type != RAFT_CHANGE || raft->state != RAFT_FOLLOWER)
		return 0;
	if (older == 0 || older > m->prev_log_index || term_of(raft, m->prev_log_index) != m->prev_log_term)
		return 0;
	struct raft_event event = { .type = RAFT_CONFIGURATION, .configuration = { .index = older } };
	struct raft_update update;
	copy_configuration(&raft->configuration, &event.configuration.conf);
	return step(node, now_ms, &event, &update);
}

/* One message to the library, with CLAMP. */
static int deliver_append(struct raft_node *node, uint64_t now_ms, struct raft_message *message)
{
	struct raft_append_entries *m = &message->append_entries;
	struct raft_event event = { .type = RAFT_RECEIVE, .receive = { message } };
	struct raft_update update;
	void *token = NULL;

	m->leader_commit = MIN_OF(m->leader_commit, m->prev_log_index + m->n_entries); /* CLAMP */
	if (m->term >= node->raft.current_term) {
		int res = record_older_change(node, now_ms, m);
		if (res != 0)
			return res;
	}
	if (m->n_entries > 0) {
		token = token_new();
		for (unsigned i = 0; i < m->n_entries; i++)
			m->entries[i].batch = token;
	}
	int res = step(node, now_ms, &event, &update);
	if (res == 0 && token && (update.flags & RAFT_UPDATE_ENTRIES))
		raft_free(token); /* in every other case the library has done it */
	return res;
}

static int receive_append(struct raft_node *node, uint64_t now_ms, struct raft_message *message)
{
	struct raft_append_entries *m = &message->append_entries;
	raft_index commit = node->raft.commit_index;
	raft_term commit_term = term_of(&node->raft, commit);

	if (!append_is_sane(m))
		return 0;
	if (m->term < node->raft.current_term || commit_term == 0) {
		/* The library rejects an old term, and an empty log has nothing to trim. */
	} else if (m->prev_log_index < commit) { /* TRIM */
		unsigned drop = (unsigned)MIN_OF((raft_index)m->n_entries, commit - m->prev_log_index);
		m->entries = m->entries ? m->entries + drop : NULL;
		m->n_entries -= drop;
		m->prev_log_index = commit;
		m->prev_log_term = commit_term;
	}
	while (m->n_entries > 1) { /* SPLIT */
		unsigned first = 1;
		while (first < m->n_entries && m->entries[first].type != RAFT_CHANGE)
			first++;
		if (first == m->n_entries)
			break;
		struct raft_message part = *message;
		part.append_entries.n_entries = first;
		raft_term term = m->entries[first - 1].term;
		int res = deliver_append(node, now_ms, &part);
		if (res != 0)
			return res;
		m->prev_log_index += first;
		m->prev_log_term = term;
		m->entries += first;
		m->n_entries -= first;
	}
	return deliver_append(node, now_ms, message);
}

/* VOTE: whoever asks may know a newer configuration, in which we are a voter. Granting is safe: a candidate counts only the
 * voters of its own configuration. */
static int receive_request_vote(struct raft_node *node, uint64_t now_ms, struct raft_message *message)
{
	struct raft *raft = &node->raft;
	struct raft_event event = { .type = RAFT_RECEIVE, .receive = { message } };
	struct raft_update update;
	const struct raft_server *self = find_server(&raft->configuration, raft->id);

	if (raft->state != RAFT_FOLLOWER || (self && self->role == RAFT_VOTER))
		return step(node, now_ms, &event, &update);

	struct raft_configuration own = raft->configuration, shown;
	copy_configuration(&own, &shown);
	if (self) {
		find_server(&shown, raft->id)->role = RAFT_VOTER;
	} else {
		int added = raft_configuration_add(&shown, raft->id, raft->address, RAFT_VOTER);
		ENSURE(added == 0 || added == RAFT_DUPLICATEADDRESS);
	}
	raft->configuration = shown;
	int res = step_once(node, now_ms, &event, &update);
	shown = raft->configuration;
	raft->configuration = own;
	raft_configuration_close(&shown);
	if (res == 0)
		dispatch(node, &update);
	return res;
}

/* The library keeps the configuration and the bytes of an InstallSnapshot only if it asks for the install. */
static int receive_install(struct raft_node *node, uint64_t now_ms, struct raft_message *message)
{
	struct raft_message copy = *message;
	struct raft_event event = { .type = RAFT_RECEIVE, .receive = { &copy } };
	struct raft_update update;

	if (copy.install_snapshot.last_index == 0 || copy.install_snapshot.last_term == 0)
		return 0;
	copy_configuration(&message->install_snapshot.conf, &copy.install_snapshot.conf);
	copy.install_snapshot.data = (struct raft_buffer){ NULL, 0 };
	int res = step_once(node, now_ms, &event, &update);
	if (res == 0 && (update.flags & RAFT_UPDATE_SNAPSHOT))
		update.snapshot.chunk = message->install_snapshot.data;
	if (res == 0)
		dispatch(node, &update);
	/* The library frees the configuration only where it answers at once. */
	if (res == 0 && ((update.flags & RAFT_UPDATE_SNAPSHOT) || update.messages.n == 0))
		raft_configuration_close(&copy.install_snapshot.conf);
	return res;
}

int raft_node_receive(struct raft_node *node, uint64_t now_ms, struct raft_message *message)
{
	struct raft_event event = { .type = RAFT_RECEIVE, .receive = { message } };
	struct raft_update update;

	if (message->server_id == 0 || message->server_address == NULL)
		return 0;
	switch (message->type) {
	case RAFT_APPEND_ENTRIES:
		return receive_append(node, now_ms, message);
	case RAFT_REQUEST_VOTE:
		return receive_request_vote(node, now_ms, message);
	case RAFT_INSTALL_SNAPSHOT:
		return receive_install(node, now_ms, message);
	case RAFT_APPEND_ENTRIES_RESULT:
	case RAFT_REQUEST_VOTE_RESULT:
	case RAFT_TIMEOUT_NOW:
		return step(node, now_ms, &event, &update);
	default:
		return 0;
	}
}

/* ---- membership ---- */

/* OPS: what would be the configuration after it, or why not. */
static int plan_change(struct raft_node *node, enum raft_node_change what, const struct raft_node_member *member,
		       struct raft_configuration *out)
{
	const struct raft_configuration *now = &node->raft.configuration;
	const struct raft_server *server = find_server(now, member->id);

	if (what == RAFT_NODE_ADD) {
		if (server)
			return RAFT_DUPLICATEID;
		copy_configuration(now, out);
		int res = raft_configuration_add(out, member->id, member->address, RAFT_SPARE);
		if (res != 0)
			raft_configuration_close(out);
		return res;
	}
	if (!server)
		return RAFT_BADID;
	if (member->id == node->raft.id) /* transfer leadership first; the new leader can do it */
		return RAFT_BADID;
	if (what == RAFT_NODE_ASSIGN &&
	    (member->role == server->role || member->role == RAFT_SPARE ||
	     (member->role != RAFT_VOTER && member->role != RAFT_STANDBY)))
		return RAFT_BADROLE;
	bool loses_voter = server->role == RAFT_VOTER;
	if (loses_voter && count_voters(now) <= 2)
		return RAFT_BADROLE;
	raft_configuration_init(out);
	for (unsigned i = 0; i < now->n; i++) {
		const struct raft_server *old = &now->servers[i];
		if (what == RAFT_NODE_REMOVE && old->id == member->id)
			continue;
		int role = old->id == member->id ? member->role : old->role;
		int res = raft_configuration_add(out, old->id, old->address, role);
		ENSURE(res == 0);
	}
	return 0;
}

int raft_node_change(struct raft_node *node, uint64_t now_ms, enum raft_node_change what,
		     const struct raft_node_member *member)
{
	struct raft *raft = &node->raft;
	struct raft_configuration planned;
	struct raft_buffer bytes;

	if (raft->state != RAFT_LEADER)
		return RAFT_NOTLEADER;
	if (node->own_index == 0 || raft->commit_index < node->own_index) /* BARRIER */
		return RAFT_CANTCHANGE;
	if (raft->configuration_uncommitted_index != 0)
		return RAFT_CANTCHANGE;
	int res = plan_change(node, what, member, &planned);
	if (res != 0)
		return res;
	res = raft_configuration_encode(&planned, &bytes);
	raft_configuration_close(&planned);
	if (res != 0)
		return res;
	struct raft_entry entry = {
		.term = raft_current_term(raft), .type = RAFT_CHANGE, .buf = bytes, .batch = bytes.base,
	};
	struct raft_event event = { .type = RAFT_SUBMIT, .submit = { &entry, 1 } };
	struct raft_update update;
	res = step(node, now_ms, &event, &update);
	raft_free(bytes.base);
	return res;
}

/* ---- looking ---- */

uint64_t raft_node_timeout(const struct raft_node *node)
{
	uint64_t at = raft_timeout(&node->raft);

	/* TIMER: after a replicated server became a spare its last contact keeps the library's timer in the past. */
	return at > node->last_tick_ms ? at : node->last_tick_ms + node->raft.heartbeat_timeout;
}

bool raft_node_must_restart(const struct raft_node *node)
{
	return node->raft.state != RAFT_LEADER && is_sole_voter(&node->raft.configuration, node->raft.id);
}

bool raft_node_leads(const struct raft_node *node)
{
	return node->raft.state == RAFT_LEADER;
}

uint64_t raft_node_term(const struct raft_node *node)
{
	return node->raft.current_term;
}

uint64_t raft_node_commit(const struct raft_node *node)
{
	return node->raft.commit_index;
}

struct raft *raft_node_raft(struct raft_node *node)
{
	return &node->raft;
}
