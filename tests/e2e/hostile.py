#!/usr/bin/env python3
"""Peers that do not follow the protocol, and too many of them. Each gets a defined answer, and the others keep working.

Usage: hostile.py BUILD_DIR [TEST...]"""

import os
import random
import select
import socket
import struct
import time

from broker import Broker, WAIT_S, contains, equal, main, wait_until
from wire import CODE_NAMES, CODES, Closed, Connection, encode, SCHEMA, crc32c, frame

MIB = 1 << 20


def fatal_error(connection):
    """Reads the fatal ERROR and then the end of the stream."""
    error = connection.expect("ERROR")
    equal(error["fatal"], True, f"fatal of {CODE_NAMES.get(error['code'])}: {error['text']}")
    ended(connection)
    return CODE_NAMES[error["code"]], error["text"]


def ended(connection):
    try:
        message = connection.receive(())
    except Closed:
        return
    raise AssertionError(f"not closed, but {message}")


def still_serves(broker):
    with Connection(broker.port) as me:
        me.serve("t.Alive", 1)
        me.submit(random.getrandbits(63) | 1, 1, [b"x"], type="t.Alive")
        equal(me.settle("Complete", me.task()["ref"]), ("OK", "Done"), "a whole task")


def garbage_is_refused_and_closed(scratch):
    broker = Broker(scratch / "data")
    for name, raw, codes in (
        ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", {"TOO_BIG", "MALFORMED"}),
        ("tls", bytes.fromhex("16030100c8010000c40303") + bytes(190), {"TOO_BIG", "MALFORMED"}),
        ("zeros", bytes(64), {"NOT_READY", "UNKNOWN_KIND", "MALFORMED"}),
        ("text", b"hello broker, how are you?\n" * 4, {"TOO_BIG", "MALFORMED"}),
        ("a kind before HELLO", frame("PING", {"echo": 1}), {"NOT_READY"}),
        ("a broken meta", struct.pack("<IHHII", 16, 1, 0, 16, 0) + b"\xff" * 16, {"MALFORMED"}),
        ("a session of 3 bytes", frame("HELLO", {"versions": [1], "session": b"abc"}), {"INVALID_INPUT"}),
        ("version 9", frame("HELLO", {"versions": [9], "session": bytes(16)}), {"VERSION"}),
        ("no versions", frame("HELLO", {"versions": [], "session": bytes(16)}), {"VERSION", "INVALID_INPUT"}),
        ("a long HELLO", frame("HELLO", {"versions": [1], "session": bytes(16), "token": "t" * 5000}), {"TOO_BIG"}),
    ):
        with Connection(broker.port, hello=False) as peer:
            peer.socket.sendall(raw)
            code, text = fatal_error(peer)
            equal(code in codes and text != "", True, f"answer to {name}: {code} {text}")
    still_serves(broker)


def random_bytes_never_hurt_the_others(scratch):
    broker = Broker(scratch / "data")
    rng = random.Random(20240607)
    with Connection(broker.port) as other:
        for number in range(150):
            with Connection(broker.port, hello=number % 2 == 1) as peer:
                raw = bytearray(rng.randbytes(rng.randrange(1, 600)))
                if number % 3 == 0:  # a good header around garbage
                    raw = bytearray(raw[:len(raw) // 8 * 8])
                    kind = rng.choice((1, 4, 16, 18, 19, 32, 33, 35, 48))
                    raw[:0] = struct.pack("<IHHII", len(raw), kind, 0, len(raw), number)
                try:
                    peer.socket.sendall(raw)
                    peer.socket.shutdown(socket.SHUT_WR)
                    while peer.receive(("ERROR",)):
                        pass
                except (Closed, OSError):
                    pass
            other.round_trip()
    still_serves(broker)


def a_message_cut_or_changed_at_any_byte_is_refused_or_harmless(scratch):
    broker = Broker(scratch / "data")
    head = encode(SCHEMA, "TaskHead", {"type": "t.Flip", "key": "k", "headers": [{"name": "a", "value": "b"}]})
    good = frame("SUBMIT", {"producer": 5, "first_seq": 1, "resolved_below": 1, "head": head, "sizes": [3],
                            "crc": crc32c(b"abc")}, b"abc")
    rng = random.Random(7)
    me = Connection(broker.port)
    for at in range(16, len(good)):
        changed = bytearray(good)
        changed[at] ^= 1 << rng.randrange(8)
        me.socket.sendall(changed)
        try:
            me.round_trip()
        except (AssertionError, Closed):  # a fatal answer, or a refusal
            me.close()
            me = Connection(broker.port)
        me.waiting.clear()
    me.close()
    still_serves(broker)


def a_refused_frame_leaves_the_session_up(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        head = encode(SCHEMA, "TaskHead", {"type": "t.X"})
        for values, payload, code, word in (
            ({"head": head, "sizes": [3], "crc": 1}, b"abc", "INTEGRITY_MISMATCH", "crc"),
            ({"head": head, "sizes": []}, b"", "INVALID_INPUT", "sizes"),
            ({"head": head, "sizes": [MIB + 1], "crc": 0}, bytes(MIB + 1), "TOO_BIG", "sizes[0]"),
            ({"head": head, "sizes": [1], "crc": crc32c(b"a"), "producer": 0}, b"a", "INVALID_INPUT", "producer"),
            ({"head": head, "sizes": [1], "crc": crc32c(b"a"), "first_seq": 0}, b"a", "INVALID_INPUT", "first_seq"),
            ({"head": b"\xff" * 16, "sizes": [1], "crc": crc32c(b"a")}, b"a", "MALFORMED", "head"),
        ):
            me.send("SUBMIT", payload, 9, **{"producer": 1, "first_seq": 1, "resolved_below": 1, **values})
            error = me.expect("ERROR")
            if code == "MALFORMED":  # what does not follow the format ends the connection
                equal((CODE_NAMES[error["code"]], error["fatal"]), (code, True), error["text"])
                ended(me)
                break
            equal((CODE_NAMES[error["code"]], error["fatal"], error.correlation), (code, False, 9), error["text"])
            contains(error["text"], word)
    with Connection(broker.port) as me:
        for raw, code in ((struct.pack("<IHHII", 0, 999, 0, 0, 7), "UNKNOWN_KIND"),
                          (frame("HELLO", {"versions": [1], "session": bytes(16)}, correlation=7), "NOT_READY"),
                          (frame("CONFIRMS", {"runs": []}, correlation=7), "UNKNOWN_KIND")):
            me.socket.sendall(raw)
            error = me.expect("ERROR")
            equal((CODE_NAMES[error["code"]], error["fatal"], error.correlation), (code, False, 7), error["text"])
        me.round_trip()


def a_frame_that_claims_4_gib_is_too_big_and_costs_nothing(scratch):
    broker = Broker(scratch / "data")
    before = broker.memory()
    for hello in (False, True):
        for size, meta in ((0xFFFFFFF8, 0xFFFFFFF8), (0xFFFFFFF8, 0), (0xFFFFFFF8, 64)):
            with Connection(broker.port, hello=hello) as peer:
                peer.socket.sendall(struct.pack("<IHHII", size, 16 if hello else 1, 0, meta, 0))
                equal(fatal_error(peer)[0], "TOO_BIG", f"answer with size {size:#x}, meta {meta:#x}")
    equal(broker.memory() - before < 4 * MIB, True, "memory stays")
    still_serves(broker)


def drip(peer, raw, pause_s, until_s):
    """Sends byte after byte while listening; the fatal error, which must come before until_s."""
    end = time.monotonic() + until_s
    for byte in raw:
        try:
            peer.socket.sendall(bytes([byte]))
        except OSError:
            break
        if select.select([peer.socket], [], [], pause_s)[0]:
            break
        if time.monotonic() > end:
            raise AssertionError("still connected")
    return fatal_error(peer)


def a_byte_a_second_does_not_keep_a_connection(scratch):
    broker = Broker(scratch / "data", frame_timeout="500ms")
    with Connection(broker.port) as greeted:
        begun = time.monotonic()
        code, text = drip(greeted, frame("SUBMIT", {"producer": 1, "head": bytes(600), "sizes": [1]}), 0.05, 10)
        equal(code, "TIMEOUT", text)
        equal(time.monotonic() - begun > 0.499, True, "not before frame_timeout")
    slow = Connection(broker.port, hello=False)
    silent = Connection(broker.port, hello=False)
    hello = frame("HELLO", {"versions": [1], "session": bytes(16), "client": "c" * 200})
    equal(drip(slow, hello, 0.25, 20)[0], "TIMEOUT", "one that says HELLO too slowly, after 5 s")
    equal(fatal_error(silent)[0], "TIMEOUT", "one that says nothing")
    still_serves(broker)


def a_client_that_falls_silent_is_lost_after_three_heartbeats(scratch):
    broker = Broker(scratch / "data", heartbeat="100ms")
    with Connection(broker.port) as silent:
        equal(silent.welcome["heartbeat_ms"], 100, "heartbeat")
        while silent.read(time.monotonic() + WAIT_S).kind == "PING":
            pass
        ended(silent)
    with Connection(broker.port) as me:
        equal(me.round_trip()["conns_silent_total"], 1, "counted")


def a_client_that_never_reads_is_closed_and_the_others_go_on(scratch):
    broker = Broker(scratch / "data", conn_out_soft="64KiB", conn_out_max="256KiB")
    with Connection(broker.port) as other:
        before = broker.memory()
        deaf = Connection(broker.port)
        question = frame("REQUEST", {"verb": SCHEMA.enums["Verb"][1]["Stats"]}, correlation=1) * 64
        deaf.socket.settimeout(WAIT_S)

        def closed():
            other.round_trip()
            try:
                deaf.socket.sendall(question)
                return False
            except OSError:
                return True
        wait_until(closed, "the end of the deaf connection")
        equal(other.round_trip()["conns_slow_total"], 1, "counted")
        equal(broker.memory() - before < 16 * MIB, True, "memory stays")
    still_serves(broker)


def a_worker_that_never_reads_gets_no_more_than_its_buffer_and_the_rest_is_worked_on(scratch):
    broker = Broker(scratch / "data", conn_out_soft="64KiB", cache_size="4MiB", session_grace="1ms")
    count = 200
    with Connection(broker.port) as other:
        for number in range(count):
            other.submit(1, number + 1, [bytes(200_000)], type="t.Deaf")
        other.confirms(count)
        before = broker.memory()
        deaf = Connection(broker.port)
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.serve("t.Deaf", 65536)
        wait_until(lambda: other.round_trip()["tasks_leased"] > 0, "some are on their way")
        other.serve("t.Deaf", 4)
        for number in range(count // 2):
            equal(other.settle("Complete", other.task()["ref"])[0], "OK", "the other worker")
            other.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        equal(broker.memory() - before < 24 * MIB, True, "memory stays")
        deaf.close()
        for number in range(count - count // 2):
            equal(other.settle("Complete", other.task()["ref"])[0], "OK", "those that came back")
            other.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        equal(broker.ask("queue", "show", "t.Deaf")["done_total"], count, "done")


def with_no_descriptors_left_those_who_are_there_are_served(scratch):
    broker = Broker(scratch / "data", before=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"))
    with Connection(broker.port) as me:
        crowd = [socket.create_connection(("127.0.0.1", broker.port), WAIT_S) for _ in range(200)]
        me.serve("t.Crowd", 1)
        for number in range(50):
            me.submit(1, number + 1, [b"x"], type="t.Crowd")
            equal(me.settle("Complete", me.task()["ref"]), ("OK", "Done"), "work goes on")
            me.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        me.ask("Checkpoint")
        for peer in crowd:
            peer.close()
        wait_until(lambda: me.round_trip()["conns"] == 1, "the crowd is gone")
        still_serves(broker)
    equal(broker.process.poll(), None, "it runs")


def more_connections_than_conns_max_are_closed_at_once(scratch):
    broker = Broker(scratch / "data", conns_max="4")
    first = [Connection(broker.port) for _ in range(4)]
    late = Connection(broker.port, hello=False)
    ended(late)
    first.pop().close()
    wait_until(lambda: first[0].round_trip()["conns"] == 3, "room")
    still_serves(broker)


main([value for value in list(globals().values()) if callable(value) and value.__module__ == "__main__"
      and value not in (fatal_error, ended, still_serves, drip)])
