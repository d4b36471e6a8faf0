/* storage/blob_s3_list.c: what is in the bucket, and what is to go from there. In the flow: list, remove, tidy -> LIST -> requests.
 *
 *   list: pages of objects, then pages of unfinished uploads; each page goes to the owner, and the next is asked for when it comes back
 *   remove: DELETE; where the digest is all zeros, the unfinished uploads of that key are aborted, too
 *
 * 1. One page at a time is in memory. A page that cannot be read in whole ends the list: nobody takes for gone what was not seen. */
#include "blob_s3_impl.h"

#include "xml.h"

enum { PAGE = 1000 };
struct upload { struct upload *next; char id[S3_UPLOAD_ID]; };

struct s3_lister {
	struct s3 *s3;
	struct s3_lister *next;
	struct s3_task *task;    /* NULL: nobody waits */
	bool uploads;            /* the second half of a list */
	bool one;                /* of one number: uploads are to be aborted, not told */
	uint64_t number;
	char key_from[S3_KEY], mark[S3_UPLOAD_ID]; /* where the next page begins; "" = with the first */
	bool truncated;
	struct upload *found;    /* to be aborted */
	struct s3_req req;
};

static void lister_free(struct s3_lister *l)
{
	struct s3_lister **at = &l->s3->listers;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	while (l->found) {
		struct upload *u = l->found;
		l->found = u->next;
		free(u);
	}
	s3_req_cancel(&l->req);
	s3_req_free(&l->req);
	free(l);
}

static struct s3_lister *lister_new(struct s3 *s3, struct s3_task *t)
{
	struct s3_lister *l = calloc(1, sizeof *l);
	ENSURE(l != NULL);
	l->s3 = s3;
	l->task = t;
	l->next = s3->listers;
	s3->listers = l;
	return l;
}

static void end(struct s3_lister *l, enum err code, const char *text)
{
	if (l->task)
		s3_task_done(l->s3, l->task, code, text);
	l->task = NULL;
	lister_free(l);
}

static void request(struct s3_lister *l, const char *method, bool of_bucket, void (*done)(struct s3_req *, enum err))
{
	buf_free(&l->req.reply);
	l->req = (struct s3_req){ .s3 = l->s3, .method = method, .of_bucket = of_bucket, .number = l->number, .owner = l, .done = done };
}

/* ---- pages ---- */

struct item { char key[S3_KEY], id[S3_UPLOAD_ID]; uint64_t size; };

static bool number_text(struct span text, uint64_t *out)
{
	uint64_t n = 0;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9' || n > UINT64_MAX / 100)
			return false;
		n = n * 10 + (uint64_t)(text.data[i] - '0');
	}
	*out = n;
	return text.len > 0;
}

static bool take_item(struct s3_lister *l, const struct item *item)
{
	uint64_t number;
	struct s3_task *t = l->task;
	if (!s3_number_of(l->s3, item->key, &number))
		return true; /* not ours */
	if (l->one) {
		if (number != l->number)
			return true;
		struct upload *u = calloc(1, sizeof *u);
		ENSURE(u != NULL);
		memcpy(u->id, item->id, sizeof u->id);
		u->next = l->found;
		l->found = u;
		return true;
	}
	if (t->page_count == PAGE)
		return false; /* more than was asked for */
	t->page[t->page_count++] = (struct s3_found){ number, item->size };
	return true;
}

static bool field(struct xml *x, const char *name, char *out, size_t room, bool *good)
{
	if (!xml_is(x->name, name))
		return false;
	*good = *good && xml_text(x->text, out, room);
	return true;
}

/* True where all of the page was understood. */
static bool read_page(struct s3_lister *l)
{
	struct xml x = xml_begin(buf_span(&l->req.reply));
	struct item item;
	enum xml_event e;
	bool good = true;
	const char *what = l->uploads ? "Upload" : "Contents";
	char truncated[8] = "";
	memset(&item, 0, sizeof item);
	l->key_from[0] = l->mark[0] = '\0';
	while (good && ((e = xml_next(&x)) == XML_OPEN || e == XML_CLOSE)) {
		if (e == XML_OPEN) {
			if (x.depth == 2 && xml_is(x.name, what))
				memset(&item, 0, sizeof item);
			continue;
		}
		if (x.depth == 2) {
			if (!field(&x, "Key", item.key, sizeof item.key, &good) && !field(&x, "UploadId", item.id, sizeof item.id, &good) &&
			    xml_is(x.name, "Size"))
				good = number_text(x.text, &item.size);
		} else if (x.depth == 1 && xml_is(x.name, what)) {
			good = item.key[0] && take_item(l, &item);
		} else if (x.depth == 1) {
			(void)(field(&x, "IsTruncated", truncated, sizeof truncated, &good) ||
			       field(&x, "NextKeyMarker", l->key_from, sizeof l->key_from, &good) ||
			       field(&x, l->uploads ? "NextUploadIdMarker" : "NextContinuationToken", l->mark, sizeof l->mark, &good));
		}
	}
	l->truncated = strcmp(truncated, "true") == 0;
	return good && e == XML_END && (!l->truncated || l->mark[0] || l->key_from[0]);
}

static void abort_next(struct s3_lister *l);
static void on_page(struct s3_req *r, enum err code);

static void ask(struct s3_lister *l)
{
	struct s3_req *r = &l->req;
	char prefix[S3_KEY];
	request(l, "GET", true, on_page);
	if (l->one)
		s3_key_of(l->s3, l->number, prefix);
	else
		(void)snprintf(prefix, sizeof prefix, "%s", l->s3->store_prefix);
	if (!l->uploads) {
		if (l->mark[0])
			s3_query(r, "continuation-token", l->mark);
		s3_query(r, "list-type", "2");
		s3_query(r, "max-keys", "1000");
		s3_query(r, "prefix", prefix);
	} else {
		if (l->key_from[0])
			s3_query(r, "key-marker", l->key_from);
		s3_query(r, "max-uploads", "1000");
		s3_query(r, "prefix", prefix);
		if (l->mark[0])
			s3_query(r, "upload-id-marker", l->mark);
		s3_query(r, "uploads", "");
	}
	s3_req_start(r);
}

static void next_page(struct s3_lister *l)
{
	if (!l->truncated && !l->uploads) {
		l->uploads = true;
		l->key_from[0] = l->mark[0] = '\0';
	} else if (!l->truncated) {
		end(l, ERR_OK, "");
		return;
	}
	ask(l);
}

static void on_page(struct s3_req *r, enum err code)
{
	struct s3_lister *l = r->owner;
	struct s3_task *t = l->task;
	if (code == ERR_OK && !l->one)
		t->page_count = 0;
	if (code == ERR_OK && !read_page(l)) {
		s3_req_text(r, "a list that cannot be read");
		code = ERR_UNAVAILABLE;
	}
	if (code != ERR_OK) {
		end(l, code, r->text);
	} else if (l->one) {
		abort_next(l);
	} else if (t->page_count == 0) {
		next_page(l);
	} else {
		t->more = true; /* comes back as S3_LIST_MORE */
		l->task = NULL;
		s3_task_done(l->s3, t, ERR_OK, "");
	}
}

/* ---- removing ---- */

static void on_aborted(struct s3_req *r, enum err code)
{
	struct s3_lister *l = r->owner;
	struct upload *u = l->found;
	if (code != ERR_OK && code != ERR_NOT_FOUND) {
		end(l, code, r->text);
		return;
	}
	l->found = u->next;
	free(u);
	abort_next(l);
}

static void abort_next(struct s3_lister *l)
{
	if (!l->found) {
		end(l, ERR_OK, "");
		return;
	}
	request(l, "DELETE", false, on_aborted);
	s3_query(&l->req, "uploadId", l->found->id);
	s3_req_start(&l->req);
}

static void on_removed(struct s3_req *r, enum err code)
{
	static const uint8_t none[BLOB_DIGEST];
	struct s3_lister *l = r->owner;
	if (code != ERR_OK && code != ERR_NOT_FOUND)
		end(l, code, r->text);
	else if (memcmp(l->task->key.digest, none, BLOB_DIGEST) != 0)
		end(l, ERR_OK, "");
	else
		ask(l);
}

void s3_tidy(struct s3 *s3, uint64_t number)
{
	struct s3_lister *l = lister_new(s3, NULL);
	l->one = l->uploads = true;
	l->number = number;
	ask(l);
}

void s3_on_list(struct s3 *s3, struct s3_task *t)
{
	struct s3_lister *l = t->verb == S3_LIST_MORE ? t->lister : lister_new(s3, t);
	t->lister = l;
	t->more = false;
	if (t->verb == S3_LIST_MORE) {
		l->task = t;
		next_page(l);
	} else if (t->verb == S3_LIST) {
		t->page = calloc(PAGE, sizeof *t->page);
		ENSURE(t->page != NULL);
		ask(l);
	} else {
		l->one = l->uploads = true;
		l->number = t->key.number;
		request(l, "DELETE", false, on_removed);
		s3_req_start(&l->req);
	}
}

void s3_listers_free(struct s3 *s3)
{
	while (s3->listers) {
		if (s3->listers->task)
			free(s3->listers->task->page);
		free(s3->listers->task);
		lister_free(s3->listers);
	}
}
