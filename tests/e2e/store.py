#!/usr/bin/env python3
"""The data directory in trouble: full, damaged, held by another. Nothing that was confirmed is lost or passed over in silence.

Usage: store.py BUILD_DIR [TEST...]. The full disk is a small tmpfs, which only root can mount; others skip that test."""

import re
import signal
import subprocess

from broker import Broker, HILLOCK, Skip, WAIT_S, contains, equal, main, offline, refused_start, wait_until
from wire import CODES, Connection

SMALL = {"segment_size": "256KiB", "batch_size": "64KiB", "cache_size": "1MiB", "payload_max": "32KiB",
         "queue_retention": "0s"}
BLOCK = 4096


def fill(me, count, size, kind="t.Fill", producer=1):
    """Submits one by one; {task: payload} of those that were confirmed, up to the first refusal and its code."""
    confirmed = {}
    for number in range(1, count + 1):
        payload = (b"%08d" % number).ljust(size, b".")
        me.submit(producer, number, [payload], type=kind)
        run = me.confirms(1)[0]
        if run["code"]:
            return confirmed, run["code"], number
        confirmed[run["first_task"]] = payload
    return confirmed, 0, count


def drain(me, count, kind="t.Fill"):
    """Carries out `count` tasks; {task: payload}."""
    done = {}
    me.serve(kind, 16)
    while len(done) < count:
        task = me.task()
        done[task["ref"]["task"]] = task["payload"]
        equal(me.settle("Complete", task["ref"])[0], "OK", "answer")
        me.send("CREDIT", items=[{"entry": 1, "credit": 1}])
    return done


def segments(data):
    return sorted(data.glob("seg-*.log"))


def find(data, payload):
    """The segment that holds these bytes, and where."""
    for path in segments(data):
        place = path.read_bytes().find(payload)
        if place >= 0:
            return path, place
    raise AssertionError(f"{payload} is in no segment")


def name_of(path):
    """How messages call a segment."""
    return path.stem.removeprefix("seg-")


def offsets(text):
    return [int(number) for number in re.findall(r"offset (\d+)", text)]


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x40]))


def refusals(data):
    """What a start, hillockd fsck and hillock fsck say of a damaged directory; all must refuse with exit code 2."""
    status, text = refused_start(data, **SMALL)
    equal(status, 2, f"exit of the broker: {text}")
    checked = offline("fsck", data)
    equal(checked.returncode, 2, f"exit of hillockd fsck: {checked.stdout}{checked.stderr}")
    command = subprocess.run([str(HILLOCK), "fsck", str(data)], capture_output=True, text=True, timeout=WAIT_S, check=False)
    equal((command.returncode, command.stdout), (checked.returncode, checked.stdout), "hillock fsck")
    return text, checked.stdout


def a_full_disk_refuses_tasks_settles_them_and_takes_them_again(scratch):
    disk = scratch / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False)
    if mount.returncode != 0:
        raise Skip("mounting a tmpfs is not allowed here")
    try:
        on_a_full_disk(disk)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def on_a_full_disk(disk):
    broker = Broker(disk / "data", **SMALL)
    with Connection(broker.port) as me:
        confirmed, code, seq = fill(me, 1000, 16000)
        equal(code, CODES["DISK_FULL"], "refusal")
        me.submit(2, 1, [b"x"], type="t.Fill")
        equal(me.confirms(1)[0]["code"], CODES["DISK_FULL"], "and again")
        half = drain(me, len(confirmed) // 2)
        equal(half.items() <= confirmed.items(), True, "settling goes on, and payloads are whole")
    broker.end(signal.SIGKILL)
    broker = Broker(disk / "data", **SMALL)
    with Connection(broker.port) as me:
        rest = drain(me, len(confirmed) - len(half))
        equal({**half, **rest}, confirmed, "what was confirmed is what was done, over kill -9")
        equal(set(half) & set(rest), set(), "and nothing twice")

        def taken():
            me.submit(1, seq, [b"again"], type="t.Later")
            return me.confirms(1)[0]["code"] == 0
        wait_until(taken, "room for new tasks")
        equal(me.round_trip()["log_full"], 0, "not full any more")
    broker.end(signal.SIGKILL)
    broker = Broker(disk / "data", **SMALL)
    equal(broker.ask("queue", "show", "t.Later")["ready"], 1, "the new task is durable")
    equal(broker.end(signal.SIGTERM), 0, "exit")


def a_second_broker_on_a_directory_is_locked_out(scratch):
    broker = Broker(scratch / "data")
    status, text = refused_start(scratch / "data")
    equal(status, 2, "exit")
    contains(text, "LOCKED")
    equal(offline("fsck", scratch / "data").returncode, 2, "fsck beside a broker")
    broker.run("submit", "t.Lock")
    equal(broker.end(signal.SIGTERM), 0, "the first is unharmed")


def damage_in_the_confirmed_log_is_refused_with_its_place(scratch):
    data = scratch / "data"
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        confirmed, code, _ = fill(me, 8, 10000)
        equal(code, 0, "all are confirmed")
    broker.end(signal.SIGKILL)
    path, place = find(data, b"00000003..")
    place += 5000
    flip(path, place)
    before = path.read_bytes()
    for text in refusals(data):
        contains(text, name_of(path))
        equal(any(place - 3 * BLOCK <= offset <= place for offset in offsets(text)), True, f"an offset before {place} in: {text}")
    equal(path.read_bytes(), before, "nothing was changed by the refusals")
    flip(path, place)
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        equal(drain(me, 8), confirmed, "with the byte back, everything is there")


def damage_in_a_sealed_segment_is_found(scratch):
    data = scratch / "data"
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        confirmed, code, _ = fill(me, 80, 10000)
        equal(code, 0, "all are confirmed")
    equal(broker.end(signal.SIGTERM), 0, "a clean stop with a checkpoint")
    path, place = find(data, b"00000010..")
    equal(path.with_suffix(".idx").exists(), True, "it is sealed")
    flip(path, place + 5000)
    checked = offline("fsck", data)
    equal(checked.returncode, 2, f"exit of fsck: {checked.stdout}")
    contains(checked.stdout, name_of(path))
    equal(any(place - BLOCK <= offset <= place for offset in offsets(checked.stdout)), True, checked.stdout)
    damaged = next(task for task, payload in confirmed.items() if payload.startswith(b"00000010"))
    # A start reads indexes, not payloads: the damage is met when the task is to be handed out. Its queue is held then, and the
    # place is named; other queues go on, and so does this one when the operator has given the task up.
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me, Connection(broker.port) as other:
        equal(len(drain(me, 9)), 9, "tasks before it")
        place_named = broker.wait_for(r"error deliver damaged queue=t.Fill task=(\d+) segment=(\d+) offset=(\d+) code=DAMAGED")
        equal(int(place_named.group(1)), damaged, "task")
        equal(int(place_named.group(2)), int(name_of(path), 16), "segment")
        equal(place - BLOCK <= int(place_named.group(3)) <= place, True, "offset")
        other.submit(5, 1, [b"x"], type="t.Other")
        equal(drain(other, 1, "t.Other"), {len(confirmed) + 1: b"x"}, "another queue")
        equal(me.round_trip()["tasks_waiting"], len(confirmed) - 9, "nothing was dropped")
        broker.run("task", "cancel", damaged)
        rest = drain(me, len(confirmed) - 10)
        equal(damaged in rest, False, "no worker gets damaged bytes")


def a_lost_file_is_refused_by_name(scratch):
    data = scratch / "data"
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        confirmed, _, _ = fill(me, 60, 10000)
    broker.end(signal.SIGTERM)
    for path in (segments(data)[0], data / "vote"):
        away = scratch / "away"
        path.rename(away)
        for text in refusals(data):
            contains(text, path.name)
        away.rename(path)
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        equal(drain(me, len(confirmed)), confirmed, "with everything back in its place")


def a_lost_index_is_made_anew(scratch):
    data = scratch / "data"
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        confirmed, _, _ = fill(me, 60, 10000)
    broker.end(signal.SIGTERM)
    path = segments(data)[0].with_suffix(".idx")
    index = path.read_bytes()
    path.unlink()
    checked = offline("fsck", data)
    equal(checked.returncode, 0, f"fsck: {checked.stdout}")
    contains(checked.stdout, f"{path.name}\" is missing; the next start makes it anew")
    broker = Broker(data, **SMALL)
    broker.wait_for(rf"{path.name}.* is missing: made anew from the \d+ records of its segment")
    equal(path.read_bytes(), index, "the index, to the byte")
    with Connection(broker.port) as me:
        equal(drain(me, len(confirmed)), confirmed, "every task")


def a_torn_end_is_cut(scratch):
    data = scratch / "data"
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        confirmed, _, _ = fill(me, 5, 10000)
    broker.end(signal.SIGKILL)
    path, place = find(data, b"00000005..")
    raw = path.read_bytes()
    end = (len(raw.rstrip(b"\0")) + BLOCK - 1) // BLOCK * BLOCK
    equal(place < end < len(raw), True, "there is room behind the last batch")
    with open(path, "r+b") as file:  # half a batch, as a crash in the middle of a write would leave it
        file.seek(end)
        file.write(raw[:BLOCK // 2])
    checked = offline("fsck", data)
    equal(checked.returncode, 0, f"fsck: {checked.stdout}")
    broker = Broker(data, **SMALL)
    with Connection(broker.port) as me:
        equal(drain(me, 5), confirmed, "what was confirmed")


main([a_full_disk_refuses_tasks_settles_them_and_takes_them_again, a_second_broker_on_a_directory_is_locked_out,
      damage_in_the_confirmed_log_is_refused_with_its_place, damage_in_a_sealed_segment_is_found,
      a_lost_file_is_refused_by_name, a_lost_index_is_made_anew, a_torn_end_is_cut])
