/* storage/blob_s3.c: the backend as its owner sees it, and the two threads it lives in. In the flow: broker -> S3 BACKEND -> helper thread.
 *
 * 1. The owner's calls make a task each, hand it over and return; nothing here waits but blob_s3_open's look at a file, and free.
 * 2. Tasks come back in one list, and one post tells the io of it, however many there are.
 * 3. The helper takes no signals, and is made by blob_s3_start, so that it is as confined as the process is by then. */
#include "blob_s3_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEYS_FILE_MAX = 64 << 10, PRESIGN_MAX_S = 7 * 24 * 3600, KEY_DIGITS = 16 };

/* ---- tasks ---- */

void s3_tasks_add(struct s3_tasks *list, struct s3_task *t)
{
	t->next = NULL;
	if (list->last)
		list->last->next = t;
	else
		list->first = t;
	list->last = t;
}

struct s3_task *s3_tasks_take(struct s3_tasks *list)
{
	struct s3_task *t = list->first;
	if (t)
		list->first = t->next;
	if (!list->first)
		list->last = NULL;
	return t;
}

void s3_task_done(struct s3 *s3, struct s3_task *t, enum err code, const char *text)
{
	t->code = code;
	(void)snprintf(t->text, sizeof t->text, "%s", text);
	(void)pthread_mutex_lock(&s3->lock);
	s3_tasks_add(&s3->done, t);
	bool post = !s3->posted;
	s3->posted = true;
	(void)pthread_mutex_unlock(&s3->lock);
	if (post)
		s3->b.io->v->post(s3->b.io, &s3->door->post);
}

static void hand_over(struct s3 *s3, struct s3_task *t)
{
	(void)pthread_mutex_lock(&s3->lock);
	s3_tasks_add(&s3->todo, t);
	(void)pthread_mutex_unlock(&s3->lock);
	(void)curl_multi_wakeup(s3->multi);
}

static struct s3_task *task_new(enum s3_verb verb, struct blob_job *job)
{
	struct s3_task *t = calloc(1, sizeof *t);
	ENSURE(t != NULL && (!job || job->done));
	t->verb = verb;
	t->job = job;
	return t;
}

/* A job of a writer is over. Where that was abandoned meanwhile it is not there any more, and whatever was done is taken back. */
static void writer_settle(struct s3 *s3, struct s3_task *t)
{
	if (!t->writer)
		return;
	if (t->in_vain) {
		t->code = ERR_CANCELLED;
		(void)snprintf(t->text, sizeof t->text, "the upload was abandoned");
		return;
	}
	*s3_task_of_writer(t->writer) = NULL;
	if (t->verb != S3_FINISH || t->code != ERR_OK)
		return;
	struct s3_task *forget = task_new(S3_FORGET, NULL);
	forget->writer = t->writer;
	hand_over(s3, forget);
}

/* Back on the owner's thread. */
static void deliver(struct s3 *s3, struct s3_task *t)
{
	static const uint8_t none[BLOB_DIGEST];
	struct blob_job *job = t->job;
	struct blob_key key = { .number = 0 };
	memcpy(key.digest, none, BLOB_DIGEST);
	for (size_t i = 0; t->more && i < t->page_count; i++) {
		key.number = t->page[i].number;
		t->each(t->each_ctx, &key, t->page[i].size);
	}
	if (t->more) {
		t->verb = S3_LIST_MORE;
		hand_over(s3, t);
		return;
	}
	if (t->out && t->code == ERR_OK)
		*t->out = t->reader;
	writer_settle(s3, t);
	job->got = t->got;
	memcpy(job->text, t->text, sizeof job->text);
	enum err code = t->code;
	free(t->page);
	free(t);
	job->done(job, code);
}

static void on_post(struct io_post *post)
{
	struct s3_door *door = CONTAINER_OF(post, struct s3_door, post);
	struct s3 *s3 = door->s3;
	struct s3_task *t;
	if (!s3) {
		free(door);
		return;
	}
	(void)pthread_mutex_lock(&s3->lock);
	struct s3_tasks list = s3->done;
	s3->done = (struct s3_tasks){ NULL, NULL };
	s3->posted = false;
	(void)pthread_mutex_unlock(&s3->lock);
	while ((t = s3_tasks_take(&list)) != NULL)
		deliver(s3, t);
}

/* ---- the helper ---- */

static void carry_out(struct s3 *s3, struct s3_task *t)
{
	switch (t->verb) {
	case S3_CREATE: s3_on_create(s3, t); break;
	case S3_WRITE: s3_on_write(s3, t); break;
	case S3_FINISH: s3_on_finish(s3, t); break;
	case S3_FORGET: s3_on_forget(s3, t); break;
	case S3_ABANDON: s3_on_abandon(s3, t); break;
	case S3_OPEN:
	case S3_CHECK: s3_on_open(s3, t); break;
	case S3_READ: s3_on_read(s3, t); break;
	case S3_CLOSE: s3_on_close(s3, t); break;
	case S3_REMOVE:
	case S3_LIST:
	case S3_LIST_MORE: s3_on_list(s3, t); break;
	}
}

static void *helper(void *arg)
{
	struct s3 *s3 = arg;
	for (;;) {
		(void)pthread_mutex_lock(&s3->lock);
		struct s3_tasks list = s3->todo;
		s3->todo = (struct s3_tasks){ NULL, NULL };
		bool stop = s3->stop;
		(void)pthread_mutex_unlock(&s3->lock);
		struct s3_task *t;
		while ((t = s3_tasks_take(&list)) != NULL)
			carry_out(s3, t);
		if (stop)
			return NULL;
		int ms = s3_http_turn(s3);
		if (ms > 0)
			ENSURE(curl_multi_poll(s3->multi, NULL, 0, ms, NULL) == CURLM_OK);
	}
}

int blob_s3_start(struct blob_backend *b, uint64_t store, char text[256])
{
	struct s3 *s3 = CONTAINER_OF(b, struct s3, b);
	sigset_t all, before;
	ENSURE(!s3->started);
	(void)snprintf(s3->store_prefix, sizeof s3->store_prefix, "%.1000s%016llx/", s3->c.prefix, (unsigned long long)store);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&s3->thread, NULL, helper, s3);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		(void)snprintf(text, 256, "blob_backend: no thread: %s", strerror(err));
	s3->started = err == 0;
	return -err;
}

/* ---- what the owner calls ---- */

static struct blob_writer *create(struct blob_backend *b, uint64_t number, uint64_t size, const uint8_t *digest)
{
	struct s3 *s3 = CONTAINER_OF(b, struct s3, b);
	struct s3_task *t = task_new(S3_CREATE, NULL);
	t->writer = s3_writer_new(s3);
	t->key.number = number;
	t->size = size;
	t->has_digest = digest != NULL;
	if (digest)
		memcpy(t->key.digest, digest, BLOB_DIGEST);
	struct blob_writer *w = t->writer;
	hand_over(s3, t);
	return w;
}

static void write_bytes(struct blob_writer *w, struct blob_job *job, struct span bytes)
{
	struct s3_task *t = task_new(S3_WRITE, job);
	t->writer = w;
	t->bytes = bytes;
	ENSURE(!*s3_task_of_writer(w));
	*s3_task_of_writer(w) = t;
	hand_over(s3_of_writer(w), t);
}

static void finish(struct blob_writer *w, struct blob_job *job, const uint8_t digest[BLOB_DIGEST])
{
	struct s3_task *t = task_new(S3_FINISH, job);
	t->writer = w;
	memcpy(t->key.digest, digest, BLOB_DIGEST);
	ENSURE(!*s3_task_of_writer(w));
	*s3_task_of_writer(w) = t;
	hand_over(s3_of_writer(w), t);
}

static void abandon(struct blob_writer *w)
{
	struct s3_task *t = task_new(S3_ABANDON, NULL);
	t->writer = w;
	if (*s3_task_of_writer(w))
		(*s3_task_of_writer(w))->in_vain = true;
	hand_over(s3_of_writer(w), t);
}

static void open_or_check(struct blob_backend *b, enum s3_verb verb, struct blob_job *job, const struct blob_key *key, uint64_t size,
			  struct blob_reader **out)
{
	struct s3_task *t = task_new(verb, job);
	t->key = *key;
	t->size = size;
	t->out = out;
	hand_over(CONTAINER_OF(b, struct s3, b), t);
}

static void open_blob(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size, struct blob_reader **out)
{
	open_or_check(b, S3_OPEN, job, key, size, out);
}

static void check(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size)
{
	open_or_check(b, S3_CHECK, job, key, size, NULL);
}

static void read_bytes_at(struct blob_reader *r, struct blob_job *job, uint64_t offset, void *to, size_t len)
{
	struct s3_task *t = task_new(S3_READ, job);
	t->reader = r;
	t->offset = offset;
	t->to = to;
	t->len = len;
	hand_over(s3_of_reader(r), t);
}

static int file_of(struct blob_reader *r)
{
	(void)r;
	return -1;
}

static void close_reader(struct blob_reader *r)
{
	struct s3_task *t = task_new(S3_CLOSE, NULL);
	t->reader = r;
	hand_over(s3_of_reader(r), t);
}

static void remove_blob(struct blob_backend *b, struct blob_job *job, const struct blob_key *key)
{
	struct s3_task *t = task_new(S3_REMOVE, job);
	t->key = *key;
	hand_over(CONTAINER_OF(b, struct s3, b), t);
}

static void list_blobs(struct blob_backend *b, struct blob_job *job, void (*each)(void *ctx, const struct blob_key *key, uint64_t size),
		       void *ctx)
{
	struct s3_task *t = task_new(S3_LIST, job);
	t->each = each;
	t->each_ctx = ctx;
	hand_over(CONTAINER_OF(b, struct s3, b), t);
}

static enum err presign(struct blob_backend *b, const struct blob_key *key, bool put, uint32_t seconds, char *out, size_t room)
{
	struct s3 *s3 = CONTAINER_OF(b, struct s3, b);
	struct buf path = { NULL, 0, 0 }, url = { NULL, 0, 0 };
	if (seconds == 0 || seconds > PRESIGN_MAX_S)
		return ERR_INVALID_INPUT;
	ENSURE(s3->started);
	s3_target(s3, false, key->number, &path);
	const struct s3_signed what = { .method = put ? "PUT" : "GET", .host = s3->host, .region = s3->c.region,
					.path = (const char *)path.data, .now_s = io_wall_ms(b->io) / 1000 };
	s3_append(&url, s3->base);
	s3_append(&url, what.path);
	s3_append(&url, "?");
	struct buf query = { NULL, 0, 0 };
	(void)pthread_mutex_lock(&s3->lock);
	s3_presign(&what, &s3->keys, seconds, &query);
	(void)pthread_mutex_unlock(&s3->lock);
	buf_append(&url, query.data, query.len); /* its zero, too */
	enum err e = url.len <= room ? ERR_OK : ERR_TOO_BIG;
	if (e == ERR_OK)
		memcpy(out, url.data, url.len);
	buf_free(&query);
	buf_free(&path);
	buf_free(&url);
	return e;
}

static uint64_t room_left(struct blob_backend *b)
{
	(void)b;
	return UINT64_MAX;
}

static uint64_t figure(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void stats(struct blob_backend *b, struct blob_backend_stats *out)
{
	const struct s3 *s3 = CONTAINER_OF(b, struct s3, b);
	*out = (struct blob_backend_stats){ figure(&s3->requests), figure(&s3->retries), figure(&s3->failed), figure(&s3->sent),
					    figure(&s3->received), figure(&s3->memory) };
}

static void tasks_free(struct s3_tasks *list)
{
	struct s3_task *t;
	while ((t = s3_tasks_take(list)) != NULL) {
		if (t->verb == S3_CREATE)
			free(t->writer); /* not in the helper's list yet */
		free(t->page);
		free(t);
	}
}

static void free_backend(struct blob_backend *b)
{
	struct s3 *s3 = CONTAINER_OF(b, struct s3, b);
	(void)pthread_mutex_lock(&s3->lock);
	s3->stop = true;
	(void)pthread_mutex_unlock(&s3->lock);
	if (s3->started) {
		(void)curl_multi_wakeup(s3->multi);
		(void)pthread_join(s3->thread, NULL);
	}
	s3_writers_free(s3);
	s3_readers_free(s3);
	s3_listers_free(s3);
	tasks_free(&s3->todo);
	tasks_free(&s3->done);
	if (s3->multi)
		(void)curl_multi_cleanup(s3->multi);
	curl_global_cleanup();
	s3_keys_forget(&s3->keys);
	(void)pthread_mutex_destroy(&s3->lock);
	if (s3->posted)
		s3->door->s3 = NULL; /* it is on its way */
	else
		free(s3->door);
	const char *owned[] = { s3->c.endpoint, s3->c.region, s3->c.bucket, s3->c.prefix, s3->c.credentials, s3->c.ca_file };
	for (size_t i = 0; i < COUNT_OF(owned); i++)
		free((void *)(uintptr_t)owned[i]);
	free(s3);
}

static const struct blob_backend_v s3_v = {
	.name = "s3", .create = create, .write = write_bytes, .finish = finish, .abandon = abandon, .open = open_blob, .read = read_bytes_at,
	.file = file_of, .close = close_reader, .remove = remove_blob, .list = list_blobs, .presign = presign, .check = check,
	.room = room_left, .stats = stats, .free = free_backend,
};

/* ---- names ---- */

void s3_key_of(const struct s3 *s3, uint64_t number, char out[S3_KEY])
{
	int len = snprintf(out, S3_KEY, "%s%016llx", s3->store_prefix, (unsigned long long)number);
	ENSURE(len > 0 && len < S3_KEY);
}

bool s3_number_of(const struct s3 *s3, const char *key, uint64_t *number)
{
	size_t n = strlen(s3->store_prefix);
	if (strncmp(key, s3->store_prefix, n) != 0 || strlen(key + n) != KEY_DIGITS || strspn(key + n, "0123456789abcdef") != KEY_DIGITS)
		return false;
	*number = strtoull(key + n, NULL, 16);
	return true;
}

void s3_target(const struct s3 *s3, bool of_bucket, uint64_t number, struct buf *path)
{
	char key[S3_KEY];
	s3_append(path, s3->bucket_path);
	if (!of_bucket) {
		s3_key_of(s3, number, key);
		s3_append(path, s3->bucket_path[1] ? "/" : "");
		s3_encode(path, key, true);
	}
	buf_append(path, "", 1);
}

void s3_query(struct s3_req *r, const char *name, const char *value)
{
	struct buf b = { NULL, 0, 0 };
	size_t at = strlen(r->query);
	s3_append(&b, at ? "&" : "");
	s3_append(&b, name);
	s3_append(&b, "=");
	s3_encode(&b, value, false);
	buf_append(&b, "", 1);
	ENSURE(at + b.len <= sizeof r->query);
	memcpy(r->query + at, b.data, b.len);
	buf_free(&b);
}

/* ---- open ---- */

int s3_keys_load(struct s3 *s3, char text[256])
{
	struct s3_keys keys;
	struct buf file = { NULL, 0, 0 };
	char why[256] = "";
	int err = 0;
	const char *path = s3->c.credentials;
	if (path) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		struct stat st;
		err = fd < 0 || fstat(fd, &st) != 0 ? -errno : !S_ISREG(st.st_mode) || st.st_size > KEYS_FILE_MAX ? -EFBIG : 0;
		if (err == 0) {
			uint8_t *at = buf_extend(&file, (size_t)st.st_size + 1);
			ssize_t n = read(fd, at, (size_t)st.st_size);
			file.len = n > 0 ? (size_t)n : 0;
			err = s3_keys_parse(buf_span(&file), &keys, why);
			explicit_bzero(file.data, file.cap);
		} else {
			(void)snprintf(why, sizeof why, "%s", strerror(-err));
		}
		if (fd >= 0)
			(void)close(fd);
	} else {
		static const char *const names[] = { "aws_access_key_id=", "aws_secret_access_key=", "aws_session_token=" };
		const char *values[] = { getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN") };
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			if (!values[i] || !values[i][0])
				continue;
			s3_append(&file, names[i]);
			s3_append(&file, values[i]);
			s3_append(&file, "\n");
		}
		err = s3_keys_parse(buf_span(&file), &keys, why);
		if (file.data)
			explicit_bzero(file.data, file.cap);
	}
	buf_free(&file);
	if (err) {
		(void)snprintf(text, 256, "%.120s: %.120s", path ? path : "the environment (AWS_ACCESS_KEY_ID and so on)", why);
		return err;
	}
	(void)pthread_mutex_lock(&s3->lock);
	s3->keys = keys;
	(void)pthread_mutex_unlock(&s3->lock);
	s3_keys_forget(&keys);
	return 0;
}

static char *copy(const char *text)
{
	char *out = text ? strdup(text) : NULL;
	ENSURE(!text || out);
	return out;
}

/* BUCKET as a part of a host name or of a path: what S3 allows, and nothing that would have to be escaped. */
static bool bucket_ok(const char *name)
{
	size_t n = strlen(name);
	return n >= 3 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n && name[0] != '.';
}

static bool region_ok(const char *region)
{
	size_t n = strlen(region);
	return n >= 1 && n <= 64 && strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == n;
}

/* Splits http(s)://HOST[:PORT], and puts the bucket where it belongs. False: it is none. */
static bool take_endpoint(struct s3 *s3)
{
	char of_aws[128];
	const char *url = s3->c.endpoint;
	if (!url) {
		(void)snprintf(of_aws, sizeof of_aws, "https://s3.%.64s.amazonaws.com", s3->c.region);
		url = of_aws;
	}
	bool tls = strncmp(url, "https://", 8) == 0;
	if (!tls && strncmp(url, "http://", 7) != 0)
		return false;
	const char *host = url + (tls ? 8 : 7);
	size_t n = strlen(host);
	n -= n > 0 && host[n - 1] == '/';
	size_t good = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]");
	if (n == 0 || n > 200 || good < n)
		return false;
	(void)snprintf(s3->host, sizeof s3->host, "%s%s%.*s", s3->c.virtual_host ? s3->c.bucket : "", s3->c.virtual_host ? "." : "", (int)n, host);
	(void)snprintf(s3->base, sizeof s3->base, "%s%s", tls ? "https://" : "http://", s3->host);
	(void)snprintf(s3->bucket_path, sizeof s3->bucket_path, "/%s", s3->c.virtual_host ? "" : s3->c.bucket);
	return true;
}

static const char *bad_config(struct s3 *s3)
{
	const struct blob_s3_config *c = &s3->c;
	size_t prefix = strlen(c->prefix);
	if (!c->bucket || !bucket_ok(c->bucket))
		return "the bucket must have 3 to 63 letters, digits, dots and hyphens";
	if (!region_ok(c->region))
		return "the region is letters, digits and hyphens";
	if (prefix > 900 || (prefix > 0 && (c->prefix[prefix - 1] != '/' || c->prefix[0] == '/')))
		return "the prefix must end with a slash and not begin with one";
	for (size_t i = 0; i < prefix; i++)
		if ((uint8_t)c->prefix[i] < ' ' || (uint8_t)c->prefix[i] >= 0x7f)
			return "the prefix has a control character or one beyond ASCII in it";
	if (!take_endpoint(s3))
		return "the endpoint must be http://HOST[:PORT] or https://HOST[:PORT]";
	if (c->memory_bytes < c->part_bytes)
		return "the memory must have room for one part";
	return NULL;
}

static struct s3 *s3_new(struct io *io, const struct blob_s3_config *config)
{
	struct s3 *s3 = calloc(1, sizeof *s3);
	struct s3_door *door = calloc(1, sizeof *door);
	ENSURE(s3 != NULL && door != NULL && pthread_mutex_init(&s3->lock, NULL) == 0);
	*door = (struct s3_door){ .post = { .fn = on_post }, .s3 = s3 };
	s3->b = (struct blob_backend){ &s3_v, io };
	s3->door = door;
	s3->c = *config;
	s3->c.endpoint = copy(config->endpoint);
	s3->c.region = copy(config->region && config->region[0] ? config->region : "us-east-1");
	s3->c.bucket = copy(config->bucket);
	s3->c.prefix = copy(config->prefix ? config->prefix : "");
	s3->c.credentials = copy(config->credentials);
	s3->c.ca_file = copy(config->ca_file);
	s3->c.connect_ms = config->connect_ms ? config->connect_ms : 5000;
	s3->c.stall_ms = config->stall_ms ? config->stall_ms : 30000;
	s3->c.tries = config->tries ? config->tries : 5;
	s3->c.retry_ms = config->retry_ms ? config->retry_ms : 250;
	s3->c.part_bytes = config->part_bytes ? config->part_bytes : 8 << 20;
	s3->c.memory_bytes = config->memory_bytes ? config->memory_bytes : 32 << 20;
	s3->waiting_end = &s3->waiting;
	io->v->random(io, &s3->jitter, sizeof s3->jitter);
	return s3;
}

int blob_s3_open(struct io *io, const struct blob_s3_config *config, struct blob_backend **out, char text[256])
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		(void)snprintf(text, 256, "libcurl cannot be initialised");
		return -ENOMEM;
	}
	struct s3 *s3 = s3_new(io, config);
	const char *bad = bad_config(s3);
	int err = bad ? -EINVAL : s3_keys_load(s3, text);
	if (bad)
		(void)snprintf(text, 256, "%s", bad);
	if (err == 0 && (s3->multi = curl_multi_init()) == NULL) {
		err = -ENOMEM;
		(void)snprintf(text, 256, "libcurl: no memory");
	}
	if (err) {
		free_backend(&s3->b);
		return err;
	}
	*out = &s3->b;
	return 0;
}
