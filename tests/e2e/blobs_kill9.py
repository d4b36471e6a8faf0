#!/usr/bin/env python3
"""kill -9 of a broker at any moment of uploads, commits, references, releases and collections: afterwards no reference dangles and no file stays.

Usage: blobs_kill9.py BUILD_DIR [TEST...]. HILLOCK_E2E_LONG=1: two hundred kills instead of six.
HILLOCK_E2E_SEED=N repeats the sizes and moments of a run; what happens between processes is another matter."""

import hashlib
import os
import random
import subprocess
import threading
import time

from broker import Broker, HILLOCK, WAIT_S, Process, equal, main, offline, wait_until

KILLS = 200 if os.environ.get("HILLOCK_E2E_LONG") else 6
SEED = int(os.environ.get("HILLOCK_E2E_SEED", "0")) or random.randrange(1, 1 << 30)
SETTINGS = {"blob_grace": "1s", "queue_retention": "1s", "blob_threshold": "64KiB"}


def files(broker):
    return {p.name for p in (broker.data / "blobs").rglob("*") if p.is_file()}


def hillock(broker, *args):
    return subprocess.run([str(HILLOCK), "--server", broker.url, *map(str, args)], capture_output=True, timeout=2 * WAIT_S, check=False)


def pinned(dice):
    return f"pin{dice.randrange(4)}"


class Client:
    """Runs of the command, one after the other, that are killed with the broker: nobody waits for its next start."""

    def __init__(self, broker):
        self.broker, self.lock, self.process, self.over = broker, threading.Lock(), None, False

    def run(self, *args):
        with self.lock:
            if self.over:
                return b""
            self.process = subprocess.Popen([str(HILLOCK), "--server", self.broker.url, *map(str, args)], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return self.process.communicate()[0]

    def end(self):
        with self.lock:
            self.over = True
            if self.process:
                self.process.kill()


def one_step(client, source, dice):
    """Something that stores, refers to, lets go of or collects blobs."""
    step = dice.randrange(10)
    if step < 5:
        source.write_bytes(dice.randbytes(dice.choice([70 << 10, 300 << 10, 1 << 20, 5 << 20])))
    if step < 2:
        client.run("blob", "put", source, *(["--pin", pinned(dice)] if step == 1 else []))
    elif step < 6:
        if source.exists():
            client.run("submit", "t.Echo", "--file", source, *(["--retention", "300ms"] if step < 4 else ["--delay", "1h"]))
    elif step == 6:
        rows = client.run("blob", "ls", "-o", "jsonl").split(b'"digest":"')[1:]
        if rows:
            client.run("blob", "unpin", dice.choice(rows)[:64].decode(), pinned(dice))
    elif step == 7:
        client.run("blob", "gc")
    elif step == 8:
        client.run("queue", "purge", "t.Echo", "--yes")
    else:
        source.touch()
        client.run("publish", "t.Last", "--file", source, "--retain", "--key", pinned(dice))


def storm(broker, scratch, dice, threads=3):
    """Clients at work until the broker is killed under them."""
    clients = [Client(broker) for _ in range(threads)]

    def work(number, seed):
        own = random.Random(seed)
        while not clients[number].over:
            one_step(clients[number], scratch / f"source{number}", own)
    workers = [threading.Thread(target=work, args=(i, dice.randrange(1 << 30))) for i in range(threads)]
    echo = Process([HILLOCK, "--server", broker.url, "work", "t.Echo", "--exec", "cat", "--concurrency", 2])
    for worker in workers:
        worker.start()
    time.sleep(dice.uniform(0.05, 0.8))
    broker.kill_group()
    for client in clients:
        client.end()
    echo.kill_group()
    for worker in workers:
        worker.join()


def what_it_has_is_whole(broker):
    """Every blob of the index can be read, and is what its name says."""
    rows = broker.ask("blob", "ls", "--all")
    for row in rows:
        got = hillock(broker, "blob", "get", row["digest"])
        if got.returncode == 2:
            continue  # collected since
        equal((got.returncode, hashlib.sha256(got.stdout).hexdigest()), (0, row["digest"]), f"blob {row}: {got.stderr.decode()}")
    return len(rows)


def nothing_dangles_and_nothing_stays(scratch):
    dice = random.Random(SEED)
    print(f"seed {SEED}, {KILLS} kills", flush=True)
    seen = 0
    for _ in range(KILLS):
        storm(Broker(scratch / "data", **SETTINGS), scratch, dice)
        checked = offline("fsck", scratch / "data")
        if checked.returncode >= 2:
            raise AssertionError(f"fsck: exit {checked.returncode}\n{checked.stdout}{checked.stderr}")
        broker = Broker(scratch / "data", **SETTINGS)
        seen += what_it_has_is_whole(broker)
        equal(broker.end(15), 0, f"a stop: {broker.text}")
    if seen == 0:
        raise AssertionError("no blob outlived a kill: the test sees nothing")
    broker = Broker(scratch / "data", **SETTINGS)
    for n in range(4):
        for row in broker.ask("blob", "ls", "--all"):
            hillock(broker, "blob", "unpin", row["digest"], f"pin{n}")
        hillock(broker, "publish", "t.Last", "--retain", "--key", f"pin{n}")  # an empty value ends it
    hillock(broker, "queue", "purge", "t.Echo", "--yes")
    hillock(broker, "dlq", "purge", "t.Echo", "--yes")
    wait_until(lambda: not hillock(broker, "blob", "gc").returncode and not broker.ask("blob", "ls", "--all"), "the last blob to go", 60)
    wait_until(lambda: not files(broker), "the last file to go", 60)


main([nothing_dangles_and_nothing_stays])
