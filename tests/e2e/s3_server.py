#!/usr/bin/env python3
"""A strict S3 server for tests, out of the standard library alone: `s3_server.py [--dir DIR] [--port N] [--min-part BYTES] [--page N] [--tls CERT KEY]`.

It says "ready PORT" and serves one bucket, `bucket`, by path and by virtual host (bucket.localhost), until its standard input ends.
It believes nothing: every request must be signed (AWS Signature Version 4, header or query, checked by code of its own), the bytes must
have the hash that was signed, parts must be big enough, and ETags must be those that were given out. Objects are files in DIR, so big
ones cost no memory.

Faults are set by a POST to /-/fault, one JSON object, and last until another one is set ({} = none):
  mode    400 (with code), 403, 500, 503, garbage (200 and half an answer), hang (says nothing), held (until another fault is set), drop (hangs up), slow; of an object's body: cut, stall, flip, short, long; digest (another
          one in the metadata); lost (done, but nobody hears of it); plain200 (of a complete: 200 and an error); wrongxml (half a list);
          etag (none)
  count   how many requests it hits (absent: all)
  method, sub   only these (sub: object, list, uploads, begin, part, complete, abort)
  after   for Retry-After, in seconds (503)
GET /-/state tells: objects, uploads, requests (by method and sub), connections; POST /-/reset empties the bucket; POST /-/keys sets the
accepted id, secret and token; POST /-/spoil flips a byte of an object, /-/truncate cuts it."""

import argparse
import datetime
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import ssl
import sys
import tempfile
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape, unescape

BUCKET, REGION = "bucket", "test-region-1"
EMPTY = hashlib.sha256(b"").hexdigest()
CHUNK = 256 << 10


class Refused(Exception):
    def __init__(self, status, code, text=""):
        super().__init__(code)
        self.status, self.code, self.text = status, code, text


class Store:
    """What the server has; one lock over all of it, bytes aside."""

    def __init__(self, directory, min_part, page):
        self.dir, self.min_part, self.page = pathlib.Path(directory), min_part, page
        self.lock = threading.RLock()
        self.keys = {"id": "AKTEST", "secret": "secret+/of_the_test", "token": ""}
        self.reset()

    def reset(self):
        with self.lock:
            self.objects, self.uploads, self.count = {}, {}, 0
            self.requests, self.fault, self.connections, self.verified = {}, {}, 0, 0
            for path in self.dir.iterdir():
                path.unlink()

    def new_path(self):
        with self.lock:
            self.count += 1
            return self.dir / f"{self.count:08d}"

    def hit(self, method, sub):
        """The fault that this request meets, or {}; one less for the next."""
        with self.lock:
            key = f"{method} {sub}"
            self.requests[key] = self.requests.get(key, 0) + 1
            f = self.fault
            if not f or f.get("method", method) != method or f.get("sub", sub) != sub or f.get("count", 1) <= 0:
                return {}
            if "count" in f:
                f["count"] -= 1
            return dict(f)

    def state(self):
        with self.lock:
            return {"objects": {k: o["size"] for k, o in self.objects.items()}, "uploads": [u["key"] for u in self.uploads.values()],
                    "requests": self.requests, "connections": self.connections, "verified": self.verified,
                    "meta": {k: o["meta"] for k, o in self.objects.items()}}


# ---- Signature Version 4, from its description and from nothing of ours


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-._~")


def derived(secret, day):
    key = ("AWS4" + secret).encode()
    for part in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def canonical_query(raw, without=None):
    pairs = []
    for item in raw.split("&") if raw else []:
        if "=" not in item:
            raise Refused(403, "SignatureDoesNotMatch", f"a parameter without '=': {item}")
        name, value = item.split("=", 1)
        if name != without:
            pairs.append((quote(urllib.parse.unquote(name)), quote(urllib.parse.unquote(value))))
    return "&".join(f"{n}={v}" for n, v in sorted(pairs))


def check_time(stamp, seconds):
    try:
        when = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise Refused(403, "AccessDenied", "no date") from None
    age = (datetime.datetime.now(datetime.timezone.utc) - when).total_seconds()
    if age > seconds:
        raise Refused(403, "AccessDenied" if seconds != 900 else "RequestTimeTooSkewed", "too old")
    if age < -900:
        raise Refused(403, "RequestTimeTooSkewed", "from the future")


def verify(request, keys):
    """The hash that the body must have ("UNSIGNED-PAYLOAD": any). Raises Refused."""
    query = dict(urllib.parse.parse_qsl(request.raw_query, keep_blank_values=True))
    headers = {k.lower(): " ".join(v.split()) for k, v in request.headers.items()}
    if "X-Amz-Signature" in query:
        credential, stamp = query["X-Amz-Credential"], query["X-Amz-Date"]
        names, given = query["X-Amz-SignedHeaders"], query["X-Amz-Signature"]
        payload, without = "UNSIGNED-PAYLOAD", "X-Amz-Signature"
        check_time(stamp, int(query["X-Amz-Expires"]))
        token = query.get("X-Amz-Security-Token", "")
    else:
        match = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
                             headers.get("authorization", ""))
        if not match:
            raise Refused(403, "AccessDenied", "not signed")
        credential, names, given = match.groups()
        stamp, payload, without = headers.get("x-amz-date", ""), headers.get("x-amz-content-sha256", ""), None
        check_time(stamp, 900)
        token = headers.get("x-amz-security-token", "")
        needed = {"host"} | {h for h in headers if h.startswith("x-amz-")}
        if not needed <= set(names.split(";")):
            raise Refused(403, "AccessDenied", f"not all that must be is signed: {needed}")
        if not re.fullmatch(r"[0-9a-f]{64}", payload):
            raise Refused(400, "InvalidDigest", "x-amz-content-sha256")
    if names.split(";") != sorted(names.split(";")):
        raise Refused(403, "SignatureDoesNotMatch", "header names are not in order")
    who, scope = credential.split("/", 1)
    if who != keys["id"]:
        raise Refused(403, "InvalidAccessKeyId")
    if token != keys["token"]:
        raise Refused(403, "InvalidToken")
    day = stamp[:8]
    if scope != f"{day}/{REGION}/s3/aws4_request":
        raise Refused(403, "SignatureDoesNotMatch", "scope")
    lines = [request.command, quote(urllib.parse.unquote(request.raw_path), "/"), canonical_query(request.raw_query, without)]
    lines += [f"{name}:{headers.get(name, '')}" for name in names.split(";")]
    text = "\n".join(lines + ["", names, payload])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(text.encode()).hexdigest()])
    want = hmac.new(derived(keys["secret"], day), to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(want, given):
        raise Refused(403, "SignatureDoesNotMatch", text)
    return payload


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    store = None

    def setup(self):
        super().setup()
        with self.store.lock:
            self.store.connections += 1

    def log_message(self, *args):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    # ---- pieces

    def read_body(self, sink, wanted):
        """Reads the body into sink(bytes); (length, SHA-256). Refuses what has not the hash that was signed."""
        left, sha, size = int(self.headers.get("Content-Length") or 0), hashlib.sha256(), 0
        while left > 0:
            chunk = self.rfile.read(min(left, CHUNK))
            if not chunk:
                raise ConnectionError("cut")
            sha.update(chunk)
            sink(chunk)
            left -= len(chunk)
            size += len(chunk)
        self.body_read = True
        if wanted not in ("UNSIGNED-PAYLOAD", sha.hexdigest()):
            raise Refused(400, "XAmzContentSHA256Mismatch")
        return size, sha.hexdigest()

    def small_body(self, wanted):
        parts = []
        self.read_body(parts.append, wanted)
        return b"".join(parts)

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, code, text="", headers=()):
        if not self.body_read: # the connection cannot go on behind bytes that were not read
            self.close_connection = True
            headers = [*headers, ("Connection", "close")]
        body = f"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
        self.answer(status, body.encode(), [("Content-Type", "application/xml"), *headers])

    def xml(self, body):
        self.answer(200, ('<?xml version="1.0" encoding="UTF-8"?>\n' + body).encode(), [("Content-Type", "application/xml")])

    # ---- the way in

    def do(self):
        self.body_read = int(self.headers.get("Content-Length") or 0) == 0
        self.raw_path, _, self.raw_query = self.path.partition("?")
        if self.raw_path.startswith("/-/"):
            self.control()
            return
        query = dict(urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True))
        path = urllib.parse.unquote(self.raw_path)
        host = (self.headers.get("Host") or "").split(":")[0]
        bucket, key = (BUCKET, path[1:]) if host == f"{BUCKET}.localhost" else (path[1:].split("/", 1) + [""])[:2]
        sub = ("uploads" if "uploads" in query and not key else "list" if not key else "begin" if "uploads" in query else
               "part" if "partNumber" in query else "complete" if "uploadId" in query and self.command == "POST" else
               "abort" if "uploadId" in query else "object")
        fault = self.store.hit(self.command, sub)
        try:
            if self.early_fault(fault):
                return
            with self.store.lock:
                keys = dict(self.store.keys)
            payload = verify(self, keys)
            with self.store.lock:
                self.store.verified += 1
            if bucket != BUCKET:
                raise Refused(404, "NoSuchBucket")
            getattr(self, f"{self.command.lower()}_{sub}")(key, query, payload, fault)
        except Refused as e:
            self.error(e.status, e.code, e.text)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

    def early_fault(self, fault):
        mode = fault.get("mode")
        if mode == "403":
            self.error(403, "AccessDenied")
        elif mode == "400":
            self.error(400, fault["code"])
        elif mode == "500":
            self.error(500, "InternalError")
        elif mode == "503":
            self.error(503, "SlowDown", headers=[("Retry-After", str(fault["after"]))] if "after" in fault else [])
        elif mode == "hang":
            self.hang()
        elif mode == "garbage" and self.body_read:
            self.xml("<no><Xml>")
        elif mode == "held": # until another fault is set, then as if nothing had been
            with self.store.lock:
                held = self.store.fault
            while self.store.fault is held:
                time.sleep(0.005)
            return False
        elif mode == "drop":
            self.close_connection = True
        elif mode == "slow":
            time.sleep(fault.get("seconds", 0.05))
            return False
        else:
            return False
        return True

    def hang(self):
        """Says nothing until the other side has gone."""
        self.connection.settimeout(60)
        try:
            while self.connection.recv(CHUNK):
                pass
        except OSError:
            pass
        self.close_connection = True

    # ---- objects

    def put_object(self, key, query, payload, fault):
        path = self.store.new_path()
        with open(path, "wb") as f:
            size, digest = self.read_body(f.write, payload)
        meta = {"hillock-sha256": self.headers["x-amz-meta-hillock-sha256"]} if "x-amz-meta-hillock-sha256" in self.headers else {}
        etag = f'"{digest[:32]}"'
        self.keep(key, [path], size, etag, meta)
        if fault.get("mode") == "lost": # done, and nobody hears of it
            self.close_connection = True
            return
        self.answer(200, headers=[("ETag", etag)])

    def keep(self, key, paths, size, etag, meta):
        with self.store.lock:
            old = self.store.objects.get(key)
            self.store.objects[key] = {"paths": paths, "size": size, "etag": etag, "meta": meta}
        for path in old["paths"] if old else ():
            path.unlink()

    def object(self, key):
        with self.store.lock:
            o = self.store.objects.get(key)
        if not o:
            raise Refused(404, "NoSuchKey")
        if self.headers.get("If-Match", o["etag"]) != o["etag"]:
            raise Refused(412, "PreconditionFailed")
        return o

    def headers_of(self, o, fault):
        digest = o["meta"].get("hillock-sha256")
        if digest and fault.get("mode") == "digest":
            digest = "0" * 64
        return [("ETag", o["etag"]), *([("x-amz-meta-hillock-sha256", digest)] if digest else [])]

    def head_object(self, key, query, payload, fault):
        o = self.object(key)
        self.send_response(200)
        size = o["size"] - 1 if fault.get("mode") == "short" else o["size"] + 1 if fault.get("mode") == "long" else o["size"]
        for name, value in [*self.headers_of(o, fault), ("Content-Length", str(size))]:
            self.send_header(name, value)
        self.end_headers()

    def get_object(self, key, query, payload, fault):
        o = self.object(key)
        first, last, status = 0, o["size"] - 1, 200
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match:
            first, last, status = int(match[1]), min(int(match[2]), last), 206
            if first > last:
                raise Refused(416, "InvalidRange")
        mode, total, size = fault.get("mode"), last - first + 1, o["size"]
        if mode in ("short", "long"):
            size += 1 if mode == "long" else -1
        self.send_response(status)
        for name, value in self.headers_of(o, fault):
            self.send_header(name, value)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(total))
        self.end_headers()
        stop = total if mode != "cut" else fault.get("bytes", total // 2)
        at = 0
        for chunk in self.bytes_of(o, first, total):
            if mode == "flip" and at == 0:
                chunk = bytes([chunk[0] ^ 1]) + chunk[1:]
            chunk = chunk[:stop - at]
            self.wfile.write(chunk)
            at += len(chunk)
            if mode == "slow":
                time.sleep(fault.get("seconds", 0.05))
            if at >= stop:
                break
        if mode == "cut":
            self.close_connection = True
        if mode == "stall":
            self.hang()

    def bytes_of(self, o, first, total):
        for path in o["paths"]:
            size = path.stat().st_size
            if first >= size:
                first -= size
                continue
            with open(path, "rb") as f:
                f.seek(first)
                first = 0
                while total > 0:
                    chunk = f.read(min(CHUNK, total))
                    if not chunk:
                        break
                    yield chunk
                    total -= len(chunk)

    def delete_object(self, key, query, payload, fault):
        with self.store.lock:
            o = self.store.objects.pop(key, None)
        for path in o["paths"] if o else ():
            path.unlink()
        self.answer(204)

    # ---- lists

    def get_list(self, key, query, payload, fault):
        if query.get("list-type") != "2":
            raise Refused(400, "InvalidArgument", "only version 2")
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        page = min(int(query.get("max-keys", "1000")), self.store.page)
        if after:
            if not after.startswith("after&<"):
                raise Refused(400, "InvalidArgument", "a token that was never given out")
            after = after[len("after&<"):]
        with self.store.lock:
            names = sorted(k for k in self.store.objects if k.startswith(prefix) and k > after)
            sizes = {k: self.store.objects[k]["size"] for k in names}
        items = "".join(f"<Contents><Key>{escape(k)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;x&quot;</ETag>"
                        f"<Size>{sizes[k]}</Size><StorageClass>STANDARD</StorageClass></Contents>" for k in names[:page])
        more = len(names) > page
        body = (f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{BUCKET}</Name><Prefix>{escape(prefix)}</Prefix>'
                f"<KeyCount>{len(names[:page])}</KeyCount><MaxKeys>{page}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
                + (f"<NextContinuationToken>{escape('after&<' + names[page - 1])}</NextContinuationToken>" if more else "")
                + items + "</ListBucketResult>")
        self.xml(body[:len(body) // 2] if fault.get("mode") == "wrongxml" else body)

    def get_uploads(self, key, query, payload, fault):
        prefix, page = query.get("prefix", ""), min(int(query.get("max-uploads", "1000")), self.store.page)
        mark = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        with self.store.lock:
            all_of_them = sorted((u["key"], i) for i, u in self.store.uploads.items() if u["key"].startswith(prefix))
        found = [u for u in all_of_them if u > mark]
        items = "".join(f"<Upload><Key>{escape(k)}</Key><UploadId>{escape(i)}</UploadId><Initiator><ID>x</ID></Initiator></Upload>"
                        for k, i in found[:page])
        more = len(found) > page
        self.xml(f'<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>{BUCKET}</Bucket>'
                 f"<KeyMarker>{escape(mark[0])}</KeyMarker><IsTruncated>{str(more).lower()}</IsTruncated>"
                 + (f"<NextKeyMarker>{escape(found[page - 1][0])}</NextKeyMarker>"
                    f"<NextUploadIdMarker>{escape(found[page - 1][1])}</NextUploadIdMarker>" if more else "")
                 + items + "</ListMultipartUploadsResult>")

    # ---- multipart

    def post_begin(self, key, query, payload, fault):
        self.small_body(payload)
        with self.store.lock:
            self.store.count += 1
            upload = f"up+{self.store.count}/&=<{os.urandom(4).hex()}"
            meta = {"hillock-sha256": self.headers["x-amz-meta-hillock-sha256"]} if "x-amz-meta-hillock-sha256" in self.headers else {}
            self.store.uploads[upload] = {"key": key, "parts": {}, "meta": meta}
        if fault.get("mode") == "lost":
            self.close_connection = True
            return
        self.xml(f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
                 f"<UploadId>{escape(upload)}</UploadId></InitiateMultipartUploadResult>")

    def upload(self, key, query):
        with self.store.lock:
            u = self.store.uploads.get(query["uploadId"])
        if not u or u["key"] != key:
            raise Refused(404, "NoSuchUpload")
        return u

    def put_part(self, key, query, payload, fault):
        u, number = self.upload(key, query), int(query["partNumber"])
        if not 1 <= number <= 10000:
            raise Refused(400, "InvalidArgument")
        path = self.store.new_path()
        with open(path, "wb") as f:
            size, digest = self.read_body(f.write, payload)
        etag = f'"{digest[:32]}"'
        with self.store.lock:
            if query["uploadId"] not in self.store.uploads: # aborted meanwhile
                path.unlink()
                raise Refused(404, "NoSuchUpload")
            old = u["parts"].get(number)
            u["parts"][number] = (path, size, etag)
        if old:
            old[0].unlink()
        self.answer(200, headers=[] if fault.get("mode") == "etag" else [("ETag", etag)])

    def post_complete(self, key, query, payload, fault):
        body = self.small_body(payload).decode()
        if fault.get("mode") == "plain200": # S3 does that: 200, and then it cannot
            self.xml("<Error><Code>InternalError</Code></Error>")
            return
        u = self.upload(key, query)
        parts = [(int(n), unescape(e, {"&quot;": '"', "&#34;": '"'}))
                 for n, e in re.findall(r"<Part><PartNumber>(\d+)</PartNumber><ETag>([^<]*)</ETag></Part>", body)]
        if not parts or [n for n, _ in parts] != sorted({n for n, _ in parts}):
            raise Refused(400, "InvalidPartOrder")
        for i, (number, etag) in enumerate(parts):
            have = u["parts"].get(number)
            if not have or have[2] != etag:
                raise Refused(400, "InvalidPart")
            if have[1] < self.store.min_part and i < len(parts) - 1:
                raise Refused(400, "EntityTooSmall")
        used = [u["parts"][n] for n, _ in parts]
        etag = '"' + hashlib.sha256("".join(e for _, _, e in used).encode()).hexdigest()[:32] + f'-{len(used)}"'
        with self.store.lock:
            del self.store.uploads[query["uploadId"]]
        self.keep(key, [p for p, _, _ in used], sum(s for _, s, _ in used), etag, u["meta"])
        if fault.get("mode") == "lost":
            self.close_connection = True
            return
        self.xml(f"<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag>"
                 "</CompleteMultipartUploadResult>")

    def delete_abort(self, key, query, payload, fault):
        u = self.upload(key, query)
        with self.store.lock:
            if not self.store.uploads.pop(query["uploadId"], None):
                raise Refused(404, "NoSuchUpload")
            for path, _, _ in u["parts"].values():
                path.unlink()
        self.answer(204)

    # ---- control

    def control(self):
        what = self.raw_path[3:]
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.body_read = True
        store, out = self.store, {}
        with store.lock:
            if what == "fault":
                store.fault = body
            elif what == "state":
                out = store.state()
            elif what == "reset":
                store.reset()
            elif what == "keys":
                store.keys.update(body)
            elif what in ("spoil", "truncate"):
                path = next(o for k, o in store.objects.items() if k.endswith(body["key"]))["paths"][0]
                with open(path, "r+b") as f:
                    if what == "spoil":
                        byte = f.read(1)
                        f.seek(0)
                        f.write(bytes([byte[0] ^ 1]))
                    else:
                        f.truncate(path.stat().st_size - 1)
                if what == "truncate":
                    next(o for k, o in store.objects.items() if k.endswith(body["key"]))["size"] -= 1
            else:
                self.answer(404)
                return
        self.answer(200, json.dumps(out).encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def serve(directory, port=0, min_part=5 << 20, page=1000, tls=None):
    """A server that runs on a thread of its own; its port is server.server_address[1], what it has is server.store."""
    handler = type("Bound", (Handler,), {"store": Store(directory, min_part, page)})
    server = Server(("127.0.0.1", port), handler)
    server.store = handler.store
    if tls: # PEM files of certificate and key
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--min-part", type=int, default=5 << 20)
    parser.add_argument("--page", type=int, default=1000)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hillock-s3-") as temporary:
        server = serve(args.dir or temporary, args.port, args.min_part, args.page, args.tls)
        print(f"ready {server.server_address[1]}", flush=True)
        while sys.stdin.read(4096):
            pass
        server.shutdown()


if __name__ == "__main__":
    main()
