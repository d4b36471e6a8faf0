#!/usr/bin/env python3
"""Payloads of any size whose bytes are in S3: a real broker behind its sandbox, killed in between, and a service that fails.

Usage: scenarios_blobs_s3.py BUILD_DIR [TEST...]. The service is tests/e2e/s3_server.py, in this process."""

import hashlib
import json
import os
import random
import re
import subprocess

import s3_server
from broker import Broker, BUILD, HILLOCK, HILLOCKD, Process, Skip, WAIT_S, contains, equal, main, wait_until

MIB = 1 << 20
os.environ["no_proxy"] = "*"  # libcurl would ask a proxy for localhost, too


class Bucket:
    """A service of its own for one test, and a broker's settings for it."""

    def __init__(self, scratch):
        if b"libcurl" not in subprocess.run(["ldd", str(HILLOCKD)], capture_output=True, check=True).stdout:
            raise Skip("a build without S3")
        (scratch / "s3").mkdir()
        self.server = s3_server.serve(scratch / "s3")
        self.store = self.server.store
        keys = scratch / "keys"
        keys.write_text(f"aws_access_key_id = {self.store.keys['id']}\naws_secret_access_key = {self.store.keys['secret']}\n")
        self.settings = {"blob_backend": "s3", "blob_s3_bucket": '"bucket"', "blob_s3_region": f'"{s3_server.REGION}"',
                         "blob_s3_endpoint": f'"http://localhost:{self.server.server_address[1]}"', "blob_s3_credentials": f'"{keys}"',
                         "blob_s3_prefix": '"tests/"', "blob_grace": "1s"}

    def fault(self, **fault):
        with self.store.lock:
            self.store.fault = fault

    def left(self):
        """Sizes of objects, and None for each unfinished upload."""
        with self.store.lock:
            return [o["size"] for o in self.store.objects.values()] + [None for _ in self.store.uploads]


def content(path, size, seed=1):
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def big_content(path, mebibytes):
    """The same for files that are not made in memory."""
    digest, piece = hashlib.sha256(), random.Random(mebibytes).randbytes(MIB)
    with open(path, "wb") as f:
        for i in range(mebibytes):
            data = i.to_bytes(8, "little") + piece[8:]
            digest.update(data)
            f.write(data)
    return digest.hexdigest()


def digest_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def peak(broker):
    """The most that was resident, in bytes."""
    status = open(f"/proc/{broker.process.pid}/status", encoding="ascii").read()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def put_in_background(broker, path):
    return Process([HILLOCK, "--server", broker.url, "blob", "put", path])


def a_file_goes_in_as_a_task_and_comes_out_as_a_result(scratch):
    bucket = Bucket(scratch)
    broker = Broker(scratch / "data", **bucket.settings)
    broker.wait_for("info blobs ready backend=s3")
    Process([HILLOCK, "--server", broker.url, "work", "t.Copy", "--exec", "cat {} > $HILLOCK_RESULT_FILE", "--payload-file", "--result-file"],
            env={**os.environ, "TMPDIR": str(scratch)})
    for size in (MIB, 8 * MIB, 21 * MIB):
        digest = content(scratch / "in", size)
        task = broker.ask("submit", "t.Copy", "--file", scratch / "in", "--retention", "1h")["id"]
        equal(broker.ask("task", "wait", task, "--file", scratch / "out")["state"], "done", "state")
        equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, f"{size} bytes that came out")
        equal(bucket.left().count(size), 1, "one content, two references, one object")
    content(scratch / "in", 10 * MIB, 3)
    broker.run("blob", "put", scratch / "in")
    equal(sorted(bucket.left()), [MIB, 8 * MIB, 10 * MIB, 21 * MIB], "one that nothing refers to, too")
    wait_until(lambda: (broker.run("blob", "gc"), sorted(bucket.left()) == [MIB, 8 * MIB, 21 * MIB])[1], "it alone to be collected")


def a_file_much_larger_than_memory_goes_the_same_way(scratch):
    """HILLOCK_E2E_LONG=1: 4 GiB."""
    mebibytes = 4096 if os.environ.get("HILLOCK_E2E_LONG") else 200
    bucket = Bucket(scratch)
    broker = Broker(scratch / "data", heartbeat="10s", **bucket.settings) # one of 4 GiB keeps a machine busy
    digest = big_content(scratch / "in", mebibytes)
    idle = peak(broker)
    Process([HILLOCK, "--server", broker.url, "work", "t.Copy", "--exec", "cat {} > $HILLOCK_RESULT_FILE", "--payload-file", "--result-file"],
            env={**os.environ, "TMPDIR": str(scratch)})
    done = subprocess.run([str(HILLOCK), "--server", broker.url, "--timeout", "1h", "submit", "t.Copy", "--file", str(scratch / "in"), "--retention",
                           "1h", "-o", "json"], capture_output=True, text=True, timeout=3600, check=True)
    (scratch / "in").unlink()
    subprocess.run([str(HILLOCK), "--server", broker.url, "--timeout", "1h", "task", "wait", str(json.loads(done.stdout)["id"]), "--file",
                    str(scratch / "out")], capture_output=True, timeout=3600, check=True)
    equal(digest_of(scratch / "out"), digest, f"{mebibytes} MiB that came out")
    if not os.environ.get("HILLOCK_SANITIZE"):
        equal(peak(broker) - idle < 64 * MIB, True, f"{(peak(broker) - idle) / MIB:.0f} MiB above what it takes idle")


def uploads_cut_off_by_kill_9_leave_nothing_in_the_bucket(scratch):
    bucket = Bucket(scratch)
    broker = Broker(scratch / "data", **bucket.settings)
    content(scratch / "in", 24 * MIB)
    kept = content(scratch / "kept", MIB, 2)
    broker.run("blob", "put", scratch / "kept")
    broker.run("blob", "pin", kept, "kept")
    for sub in ("begin", "part", "complete"):
        bucket.fault(mode="held", sub=sub)
        client = put_in_background(broker, scratch / "in")
        wait_until(lambda: any(f"{m} {sub}" in bucket.store.requests for m in ("PUT", "POST")), sub)
        broker.kill_group()
        client.kill_group()
        bucket.fault()
        bucket.store.requests.clear()
        broker = Broker(scratch / "data", **bucket.settings)
        wait_until(lambda: bucket.left() == [MIB], f"a sweep behind a kill in '{sub}': {bucket.left()}")
    equal(hashlib.sha256(subprocess.run([str(HILLOCK), "--server", broker.url, "blob", "get", kept], capture_output=True,
                                        timeout=WAIT_S, check=True).stdout).hexdigest(), kept, "what was there before")


def an_outage_slows_blobs_and_nothing_else(scratch):
    bucket = Bucket(scratch)
    broker = Broker(scratch / "data", **bucket.settings)
    broker.worker("t.Small", "cat")
    content(scratch / "in", MIB)
    bucket.fault(mode="hang")
    client = put_in_background(broker, scratch / "in")
    wait_until(lambda: bucket.store.requests.get("PUT object"), "the upload to hang")
    for _ in range(20):
        equal(broker.ask("submit", "t.Small", "--payload", "x", "--wait")["state"], "done", "a small task meanwhile")
    equal(client.process.poll(), None, "the upload still waits")
    client.kill_group()
    bucket.fault(mode="403")
    done = broker.run("blob", "put", scratch / "in", status=None)
    equal(done.returncode != 0, True, "refused")
    contains(done.stderr, "SECURITY")
    contains(done.stderr, "AccessDenied")
    bucket.fault(mode="503", count=2, after=0)
    broker.run("blob", "put", scratch / "in")
    equal(bucket.left().count(MIB), 1, "the outage is over")


main([a_file_goes_in_as_a_task_and_comes_out_as_a_result, a_file_much_larger_than_memory_goes_the_same_way,
      uploads_cut_off_by_kill_9_leave_nothing_in_the_bucket, an_outage_slows_blobs_and_nothing_else])
