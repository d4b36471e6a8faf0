#!/usr/bin/env python3
"""Payloads of any size against a real broker that is killed in between: tasks, results, files, references, backup.

Usage: scenarios_blobs.py BUILD_DIR [TEST...]"""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess

from broker import Broker, BUILD, HILLOCK, Process, WAIT_S, contains, equal, main, offline, wait_until

MIB = 1 << 20
DRIVER = BUILD / "tests" / "blobs_driver"
COUNT = 1000 if os.environ.get("HILLOCK_E2E_LONG") else 60


def content(path, size, seed=1):
    """A file that nothing else is like; its digest."""
    data = random.Random(seed).randbytes(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def files(broker):
    """What the store of blobs holds: digests, each as often as it is there."""
    return sorted(p.name.split("-")[0] for p in (broker.data / "blobs").rglob("*") if p.is_file())


def blobs(broker):
    return {row["digest"]: row for row in broker.ask("blob", "ls", "--all")}


def run(broker, *args, **more):
    return subprocess.run([str(HILLOCK), "--server", broker.url, *map(str, args)], capture_output=True, timeout=WAIT_S, check=False, **more)


def a_file_goes_in_as_a_task_and_comes_out_as_a_result(scratch):
    broker = Broker(scratch / "data", blob_grace="1s")
    Process([HILLOCK, "--server", broker.url, "work", "t.Copy", "--exec", "cat {} > $HILLOCK_RESULT_FILE", "--payload-file", "--result-file"],
            env={**os.environ, "TMPDIR": str(scratch)})
    for size in (4 * MIB, 64 * MIB):
        digest = content(scratch / "in", size)
        task = broker.ask("submit", "t.Copy", "--file", scratch / "in", "--retention", "1h")["id"]
        shown = broker.ask("task", "wait", task, "--file", scratch / "out")
        equal(shown["state"], "done", "state")
        equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, f"{size} bytes that came out")
        equal(sum(name == digest for name in files(broker)), 1, "one content, two references, one file")
    wait_until(lambda: not [p for p in scratch.iterdir() if p.name.startswith("hillock.")], "the directories of jobs to be gone")


def standard_input_and_output_are_as_good(scratch):
    broker = Broker(scratch / "data")
    broker.worker("t.Echo", "cat")
    data = random.Random(2).randbytes(5 * MIB)
    done = run(broker, "submit", "t.Echo", "-", "--wait", "-o", "json", input=data)
    result = json.loads(done.stdout)["result"]
    equal(result, {"blob": hashlib.sha256(data).hexdigest(), "size": len(data)}, "the result")
    equal(run(broker, "blob", "get", result["blob"]).stdout == data, True, "the same bytes")
    equal(run(broker, "blob", "get", "0" * 64).returncode, 2, "one that is not there")
    equal(run(broker, "blob", "put", scratch / "missing").returncode, 1, "a file that is not there")


def many_blobs_are_worked_on_and_collected_without_a_trace(scratch):
    """HILLOCK_E2E_LONG=1: a thousand of them."""
    broker = Broker(scratch / "data", blob_grace="1s", queue_retention="1s")
    worker = broker.worker("t.Sum", "sha256sum", "--concurrency", 4, "--count", COUNT)
    done = subprocess.run([str(DRIVER), broker.url, "submit", "t.Sum", str(COUNT), str(300 << 10)], capture_output=True, text=True,
                          timeout=10 * WAIT_S, check=False)
    equal((done.returncode, done.stderr), (0, ""), "the driver, which compares each result with the digest")
    equal(worker.end(), 0, "the worker")
    wait_until(lambda: not broker.run("blob", "gc") or not blobs(broker), "the last blob to go")
    wait_until(lambda: not files(broker), "the last file to go")


def an_upload_survives_kill_9_of_the_broker(scratch):
    broker = Broker(scratch / "data", blob_grace="10m")
    digest = content(scratch / "in", 48 * MIB)
    upload = Process([HILLOCK, "--server", broker.url, "blob", "put", scratch / "in"])
    wait_until(lambda: any((broker.data / "blobs" / "up").iterdir()) if (broker.data / "blobs" / "up").exists() else upload.process.poll() is not None,
               "the upload to have begun")
    broker.kill_group()
    broker = Broker(scratch / "data", port=broker.port, blob_grace="10m")
    equal(upload.end(), 0, f"the upload: {upload.text}")
    contains(upload.output(), digest)
    equal(blobs(broker)[digest]["size"], 48 * MIB, "size")
    wait_until(lambda: files(broker) == [digest], "what the first broker left behind to be swept")


def a_download_survives_kill_9_of_the_broker_and_of_itself(scratch):
    broker = Broker(scratch / "data", blob_grace="10m")
    digest = content(scratch / "in", 48 * MIB)
    broker.run("blob", "put", scratch / "in")
    part = scratch / "out.part"
    for end in ("broker", "client"):
        download = Process([HILLOCK, "--server", broker.url, "blob", "get", digest, "-f", scratch / "out"])
        wait_until(lambda: download.process.poll() is not None or (part.exists() and part.stat().st_size > MIB), "a part of it")
        if end == "broker":
            broker.kill_group()
            broker = Broker(scratch / "data", port=broker.port, blob_grace="10m")
            equal(download.end(), 0, f"the download: {download.text}")
            equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, "what came")
            (scratch / "out").unlink()
        else:
            download.kill_group()
            broker.run("blob", "get", digest, "-f", scratch / "out")
            equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, "what came in two runs")
    equal(part.exists(), False, "a part that is left over")


def a_task_and_its_result_outlive_kill_9(scratch):
    broker = Broker(scratch / "data", blob_grace="1s")
    digest = content(scratch / "in", 3 * MIB)
    task = broker.ask("submit", "t.Late", "--file", scratch / "in", "--retention", "1h")["id"]
    broker.kill_group()
    broker = Broker(scratch / "data", blob_grace="1s")
    equal(broker.ask("blob", "gc"), {"collected": 0}, "what a task refers to")
    worker = broker.worker("t.Late", "cat", "--count", 1)
    equal(worker.end(), 0, "the worker")
    broker.kill_group()
    broker = Broker(scratch / "data", blob_grace="1s")
    broker.ask("task", "wait", task, "--file", scratch / "out")
    equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, "the result")
    equal(blobs(broker)[digest]["references"], 1, "the result's; the task is over")


def what_is_pinned_stays_and_what_is_damaged_is_said(scratch):
    broker = Broker(scratch / "data", blob_grace="1s")
    digest = content(scratch / "in", 2 * MIB)
    equal(broker.ask("blob", "put", scratch / "in", "--pin", "model")["known"], False, "known")
    equal(broker.ask("blob", "put", scratch / "in")["known"], True, "known")
    equal(broker.ask("blob", "gc"), {"collected": 0}, "what is pinned")
    equal(broker.run("blob", "rm", digest, "--yes", status=5).returncode, 5, "what is pinned is not removed")
    path = next(p for p in (broker.data / "blobs").rglob(f"{digest}-*"))
    with path.open("r+b") as file:
        file.seek(MIB)
        byte = file.read(1)
        file.seek(MIB)
        file.write(bytes([byte[0] ^ 1]))
    done = run(broker, "blob", "get", digest, "-f", scratch / "out")
    equal((done.returncode, (scratch / "out").exists()), (5, False), f"a damaged blob: {done.stderr}")
    broker.run("blob", "scrub")
    wait_until(lambda: run(broker, "blob", "ls", "--damaged").returncode == 3, "the damage to be listed")
    broker.run("blob", "put", scratch / "in")
    broker.run("blob", "get", digest, "-f", scratch / "out")
    equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, "after it was uploaded again")


def events_and_calls_carry_files(scratch):
    broker = Broker(scratch / "data")
    digest = content(scratch / "in", 2 * MIB)
    subscriber = Process([HILLOCK, "--server", broker.url, "subscribe", "e.File", "--count", "1", "-o", "jsonl"])
    subscriber.wait_for("subscribed")
    broker.run("publish", "e.File", "--file", scratch / "in")
    equal(subscriber.end(), 0, subscriber.text)
    equal(json.loads(subscriber.output())["payload"], {"blob": digest, "size": 2 * MIB}, "the event")
    holder = Process([HILLOCK, "--server", broker.url, "serve", "c.File", "--exec", "cat"])
    holder.wait_for("serving")
    answer = broker.ask("call", "c.File", "--file", scratch / "in")[0]
    equal(answer["answer"], {"blob": digest, "size": 2 * MIB}, "the answer")
    small = subprocess.run(["sha256sum", str(scratch / "in")], capture_output=True, text=True, check=True).stdout[:64]
    equal(small, digest, "the file itself")


def a_call_with_a_file_crosses_a_bridge(scratch):
    near, far = Broker(scratch / "near"), Broker(scratch / "far")
    digest = content(scratch / "in", 2 * MIB)
    Process([HILLOCK, "--server", far.url, "serve", "c.Sum", "--exec", "sha256sum"]).wait_for("serving")
    Process([HILLOCK, "bridge", "--from", far.url, "--to", near.url, "--service", "c.Sum"])
    wait_until(lambda: near.ask("directory", "ls"), "the entry to come across")
    contains(near.ask("call", "c.Sum", "--file", scratch / "in")[0]["answer"], digest)
    equal((digest in blobs(near), digest in blobs(far)), (True, True), "it is a blob of either broker")


def rekuest_12_large_structures(scratch):
    """1 GB that is kept elsewhere: the call carries {type id, key} alone; a worker of another type id refuses it; a handle that is local to
    its worker finds its owner, fails cleanly after its owner was restarted, and is dropped by COLLECT."""
    broker = Broker(scratch / "data")
    shelf = Process([DRIVER, broker.url, "shelf", "img.Zarr"])
    address = shelf.wait_for(r"shelf at (\S+)\n").group(1)
    other = Process([DRIVER, broker.url, "shelf", "img.Tiff"])
    tiff = other.wait_for(r"shelf at (\S+)\n").group(1)

    def ask(*args):
        done = subprocess.run([str(DRIVER), broker.url, *map(str, args)], capture_output=True, text=True, timeout=WAIT_S, check=False)
        return done.stdout.strip()

    reference = ("s3", "lab/cell-7.zarr", "img.Zarr", 1 << 30)
    told = ask("call", address, *reference)
    equal(told, f"OK opened s3:lab/cell-7.zarr of {1 << 30} bytes, in a call of fewer than 1000", "of the same type id")
    contains(ask("call", tiff, *reference), "SCHEMA_MISMATCH a reference to something of type img.Zarr, where img.Tiff is wanted")
    handle = ask("call", address, "put", "a structure in memory", "img.Zarr", 0)
    contains(handle, "OK shelf:")
    owner, key = handle.removeprefix("OK shelf:").split(" ")
    equal(ask("call", owner, "shelf", key, "img.Zarr", 0), "OK a structure in memory", "a handle goes to its owner")
    shelf.end(signal.SIGKILL)
    wait_until(lambda: "NOT_DELIVERED" in ask("call", owner, "shelf", key, "img.Zarr", 0), "the owner to be gone: an error, no wait")
    again = Process([DRIVER, broker.url, "shelf", "img.Zarr"])
    new = again.wait_for(r"shelf at (\S+)\n").group(1)
    contains(ask("call", new, "shelf", key, "img.Zarr", 0), "NOT_FOUND no such handle")
    owner, key = ask("call", new, "put", "another", "img.Zarr", 0).removeprefix("OK shelf:").split(" ")
    equal(ask("call", owner, "collect", key, "img.Zarr", 0), "OK collected", "COLLECT")
    contains(ask("call", owner, "shelf", key, "img.Zarr", 0), "NOT_FOUND no such handle")
    equal(blobs(broker), {}, "the broker has opened and kept nothing")


def a_backup_has_the_blobs_and_is_compared_when_it_is_restored(scratch):
    broker = Broker(scratch / "data", blob_grace="10m")
    digest = content(scratch / "in", 3 * MIB)
    task = broker.ask("submit", "t.Kept", "--file", scratch / "in", "--retention", "1h")["id"]
    data, backup, restored = scratch / "data", scratch / "backup", scratch / "restored"
    refused = run(broker, "backup", data, backup)
    equal(refused.returncode, 5, "of a broker that runs")
    contains(refused.stderr.decode(), "stop it first")
    equal(broker.end(signal.SIGTERM), 0, broker.text)
    equal(run(broker, "backup", data, backup).returncode, 0, "backup")
    equal(run(broker, "backup", data, backup).returncode, 1, "over another one")
    equal(run(broker, "restore", backup, restored).returncode, 0, "restore")
    equal(offline("fsck", str(restored)).returncode, 0, "fsck of what was restored")
    again = Broker(restored, blob_grace="10m")
    worker = again.worker("t.Kept", "cat", "--count", 1)
    equal(worker.end(), 0, "the worker")
    again.ask("task", "wait", task, "--file", scratch / "out")
    equal(hashlib.sha256((scratch / "out").read_bytes()).hexdigest(), digest, "a task of before, and its payload")
    blob = next(p for p in (backup / "data" / "blobs").rglob("*-*") if p.is_file())
    damaged = bytearray(blob.read_bytes())
    damaged[1000] ^= 4
    blob.write_bytes(damaged)
    done = run(broker, "restore", backup, scratch / "other")
    equal(done.returncode, 5, "a backup with a bit that is not what it was")
    contains(done.stderr.decode(), "damaged")
    (backup / "manifest").write_text((backup / "manifest").read_text().rsplit("end", 1)[0])
    equal(run(broker, "restore", backup, pathlib.Path(scratch / "third")).returncode, 5, "a backup that is not whole")


main([
    a_file_goes_in_as_a_task_and_comes_out_as_a_result,
    standard_input_and_output_are_as_good,
    many_blobs_are_worked_on_and_collected_without_a_trace,
    an_upload_survives_kill_9_of_the_broker,
    a_download_survives_kill_9_of_the_broker_and_of_itself,
    a_task_and_its_result_outlive_kill_9,
    what_is_pinned_stays_and_what_is_damaged_is_said,
    events_and_calls_carry_files,
    a_call_with_a_file_crosses_a_bridge,
    rekuest_12_large_structures,
    a_backup_has_the_blobs_and_is_compared_when_it_is_restored,
])
