#!/usr/bin/env python3
"""Several clients at once, several brokers, and both of them dying under load: rekuest 1, 6, 14 and plexo P9, P13, P21.

Usage: scenarios_peers.py BUILD_DIR [TEST...]. Names begin with the number of the scenario."""

import pathlib
import signal
import threading

from broker import BUILD, Broker, Process, at_the_same_time, equal, main, wait_until
from wire import CODES, Closed, Connection

SCHEMAS = BUILD / "tests" / "schemas"


def restarted(broker, scratch):
    """The broker is killed and is there again at the same port."""
    broker.end(signal.SIGKILL)
    return Broker(scratch / "data", port=broker.port)


def resumed(port, session, **hello):
    """The same session on a new connection, once the broker has noticed the end of the old one."""
    def attempt():
        connection = Connection(port, session=session, hello=False)
        connection.send("HELLO", versions=[1], session=session, resume=True, **hello)
        answer = connection.expect("WELCOME", "ERROR")
        if answer.kind == "WELCOME":
            connection.welcome = answer
            return connection
        connection.close()
        return None
    return wait_until(attempt, "a resumed session")


def rekuest_01_call_by_signature_from_another_app(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, client="app a") as provider, Connection(broker.port, client="app b") as caller:
        provider.serve("image.v1.Segment", credit=5)
        caller.submit(1, 1, [b"args"], type="image.v1.Segment", want_result=True, fingerprint=7, correlation="call 1",
                      trace="00-1234-56-01", headers=[{"name": "user", "value": "ada"}, {"name": "tenant", "value": "lab"}])
        task = caller.confirms(1)[0]["first_task"]
        got = provider.task()
        equal((got["payload"], got["head"]["fingerprint"], got["head"]["correlation"], got["head"]["trace"]),
              (b"args", 7, "call 1", "00-1234-56-01"), "what the provider gets")
        equal([(h["name"], h["value"]) for h in got["head"]["headers"]], [("user", "ada"), ("tenant", "lab")], "for whom")
        provider.submit(2, 1, [b"part"], type="image.v1.Tile", parent=task)  # its lineage
        child = provider.confirms(1)[0]["first_task"]
        equal([(row["id"], row.get("parent", 0)) for row in broker.ask("task", "tree", task)], [(task, 0), (child, task)], "the tree")
        equal(provider.settle("Complete", got["ref"], b"mask"), ("OK", "Done"), "the outcome")
        provider.settle("Complete", got["ref"], b"another")  # which changes nothing
        item, result = caller.results(1)[task]
        equal((item["code"], result), (0, b"mask"), "the result")
        equal(broker.ask("task", "show", task)["result"], "mask", "as everybody sees it")
        caller.round_trip()
        equal([m for m in caller.waiting if m.kind == "RESULTS"], [], "and no other")


def rekuest_06_a_blip_keeps_the_work_and_a_restart_gives_it_back_at_once(scratch):
    broker = Broker(scratch / "data", session_grace="1h")
    with Connection(broker.port) as caller:
        worker = Connection(broker.port, client="press", identity="press 4")
        worker.serve("print.v1.Page", credit=1)
        caller.submit(1, 1, [b"one", b"two"], type="print.v1.Page")
        first = caller.confirms(2)[0]["first_task"]
        second = first + 1
        ref = worker.task()["ref"]
        worker.report("Start", ref)
        worker.round_trip()
        worker.close()
        worker = resumed(broker.port, worker.session, client="press", identity="press 4")
        equal(worker.welcome["resumed"], True, "the blip")
        worker.send("SERVE", entries=[{"id": 1, "service": "print.v1.Page", "credit": 0}], held=[ref])
        equal(worker.settle("Complete", ref, b"ok"), ("OK", "Done"), "what it went on with")
        equal([broker.ask("task", "show", t)["failed"] for t in (first, second)], [0, 0], "failures")
        worker.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        equal(worker.task()["ref"]["attempt"], 1, "the one that was not delivered yet")
        worker.report("Start", {"task": second, "attempt": 1, "epoch": ref["epoch"]})
        worker.round_trip()
        worker.close()  # and its process is another one now: the grace of an hour is not waited for
        with Connection(broker.port, client="press", identity="press 4", force=True) as restarted_worker:
            restarted_worker.serve("print.v1.Page", credit=1)
            again = restarted_worker.task()
            equal((again["ref"]["task"], again["ref"]["attempt"]), (second, 2), "requeued at once")
            equal(restarted_worker.settle("Complete", again["ref"], b"ok"), ("OK", "Done"), "its outcome")
            equal(broker.ask("task", "show", second)["failed"], 1, "one failure: it had begun")


def rekuest_14_a_serial_entry_under_load(scratch):
    broker, count, looked_at = Broker(scratch / "data", heartbeat="60s"), 10000, 500
    before = broker.memory()
    with Connection(broker.port) as caller, Connection(broker.port) as serial, Connection(broker.port) as other:
        other.serve("t.v1.Other", credit=1)
        for first in range(1, count + 1, 1000):
            caller.submit(1, first, [b"%05d" % n for n in range(first, first + 1000)], resolved_below=first, type="t.v1.Serial")
            caller.confirms(1000)
        serial.serve("t.v1.Serial", credit=1)
        for number in range(1, looked_at + 1):
            task = serial.task()
            equal(task["payload"], b"%05d" % number, "the next one, and no other")
            equal([m for m in serial.waiting if m.kind == "TASK"], [], "never two at once")
            if number == looked_at // 2:  # others are not held up by the backlog
                caller.submit(2, 1, [b"quick"], type="t.v1.Other")
                caller.confirms(1)
                equal(other.task()["payload"], b"quick", "another entry")
                broker.run("task", "cancel", task["ref"]["task"])
                equal(serial.expect("SIGNALS")["items"][0]["signal"], 1, "control goes in front")
            serial.report("Complete", task["ref"])
            if number < looked_at:
                serial.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        serial.round_trip()
        row = broker.ask("queue", "show", "t.v1.Serial")
        equal([row[k] for k in ("ready", "leased", "dead")], [count - looked_at, 0, 0], "what still waits")
        broker.run("queue", "create", "t.v1.Capped", "--length-max", "10")
        caller.submit(3, 1, [b"x"] * 20, type="t.v1.Capped")
        runs = caller.confirms(20)
        equal(sorted((r["count"], r["code"]) for r in runs), [(10, 0), (10, CODES["QUEUE_FULL"])], "the cap")
    assert broker.memory() - before < 64 << 20, f"memory grew by {broker.memory() - before} bytes"


def plexo_p09_the_same_new_type_at_the_same_time(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as left, Connection(broker.port) as right:
        def submit(me, producer, names, first):
            for number, name in enumerate(names, first):
                me.submit(producer, number, [name.encode()], resolved_below=number, type=name)
                me.confirms(1)
        same = [f"new.v1.Same{n}" for n in range(20)]
        at_the_same_time(lambda: submit(left, 1, same + ["new.v1.Left"], 1), lambda: submit(right, 2, same + ["new.v1.Right"], 1))
    queues = {row["name"]: row["submitted_total"] for row in broker.ask("queue", "ls")}
    equal(len(broker.ask("queue", "ls")), len(queues), "one queue for each type")
    equal(queues, {**{name: 2 for name in same}, "new.v1.Left": 1, "new.v1.Right": 1}, "what is in them")

    def register(name, schema):
        broker.run("type", "register", name, "--schema", SCHEMAS / f"{schema}.bfbs")
    at_the_same_time(lambda: register("race.v1.Same", "job_base"), lambda: register("race.v1.Same", "job_base"))
    at_the_same_time(lambda: register("race.v1.One", "job_base"), lambda: register("race.v1.Two", "job_base"))
    types = {row["name"]: row["fingerprints"] for row in broker.ask("type", "ls")}
    equal(sorted(types), ["race.v1.One", "race.v1.Same", "race.v1.Two"], "types")
    equal([len(f) for f in types.values()], [1, 1, 1], "each has one id")
    equal(len({str(f) for f in types.values()}), 3, "different ones stay different")


def plexo_p09_also_where_the_broker_is_killed_meanwhile(scratch):
    broker, names = Broker(scratch / "data"), [f"new.v1.T{n}" for n in range(60)]
    sent = threading.Semaphore(0)

    def submit(producer, failed):
        """All of them, until the connection breaks."""
        try:
            with Connection(broker.port) as me:
                for number, name in enumerate(names, 1):
                    me.submit(producer, number, [name.encode()], type=name)
                    sent.release()
                    if number % 10 == 0:
                        me.round_trip()
        except (Closed, OSError):
            failed.append(producer)

    def kill():
        for _ in range(30):
            sent.acquire()
        broker.process.kill()
    failed = []
    at_the_same_time(lambda: submit(1, failed), lambda: submit(2, failed), kill)
    broker = Broker(scratch / "data", port=broker.port) if broker.end() else broker
    with Connection(broker.port) as me:  # said again, as clients do: what is there already is not made twice
        for producer in (1, 2):
            for number, name in enumerate(names, 1):
                me.submit(producer, number, [name.encode()], type=name)
            me.confirms(len(names))
    rows = broker.ask("queue", "ls")
    equal(sorted((row["name"], row["ready"]) for row in rows), sorted((name, 2) for name in names), "one queue each, two tasks in it")


def bridge(source, target):
    """A client that subscribes at one broker and publishes at the next, with the id and the origin that it got."""
    process = Process([BUILD / "tests" / "events_driver", source.url, "bridge", target.url, "ring.*"])
    process.wait_for(r"ready\n")


def plexo_p13_a_ring_of_three_brokers_delivers_each_event_once(scratch):
    brokers = [Broker(scratch / f"data{n}") for n in range(3)]
    for n, source in enumerate(brokers):
        bridge(source, brokers[(n + 1) % 3])
    subscribers = [Connection(b.port, client="subscriber") for b in brokers]
    for s in subscribers:
        s.send("SUBSCRIBE", subscription=1, pattern="ring.v1.Event", unlimited=True)
        s.expect("SUBSCRIBED")
    count = 20
    for n in range(count):
        brokers[n % 3].run("publish", "ring.v1.Event", "--payload", f"event {n}")
    looks = [Connection(b.port) for b in brokers]
    # Each event ends where it began: as a duplicate. Then nothing is under way any more.
    wait_until(lambda: sum(c.round_trip()["event_duplicates_total"] for c in looks) == count, "every event has gone round once")
    for s in subscribers:
        got = []
        while len(got) < count:
            message, at = s.expect("EVENTS"), 0
            for size in message["sizes"]:
                got.append(message.payload[at:at + size].decode())
                at += size
        s.round_trip()
        equal([m for m in s.waiting if m.kind == "EVENTS"], [], "and no more")
        equal(sorted(got), sorted(f"event {n}" for n in range(count)), "each once")
    equal(sum(c.round_trip()["event_duplicates_total"] for c in looks), count, "nothing goes round twice")


def plexo_p21_either_side_dies_twenty_times_under_load(scratch):
    broker, done, acknowledged, sequence = Broker(scratch / "data"), scratch / "done", set(), 0

    def toil():
        return broker.worker("load.v1.Item", f"read -r x; printf '%s\\n' \"$x\" >> {done}", "--concurrency", "2", "--quiet")
    worker = toil()
    for round_number in range(20):
        with Connection(broker.port) as me:
            first = sequence + 1
            payloads = [b"item %d" % n for n in range(first, first + 20)]
            for n, payload in enumerate(payloads):
                me.submit(9, first + n, [payload], resolved_below=first, type="load.v1.Item")
            sequence += len(payloads)
            wanted = 10 if round_number % 2 == 0 else len(payloads)  # of some nobody knows what became of them
            runs = me.confirms(wanted)
            for run in runs:
                equal(run["code"], 0, "taken")
                acknowledged |= set(range(run["first_seq"], run["first_seq"] + run["count"]))
        if round_number % 2 == 0:
            broker = restarted(broker, scratch)
        else:
            worker.kill_group()
            worker = toil()
    wait_until(lambda: [broker.ask("queue", "show", "load.v1.Item")[key] for key in ("ready", "leased", "scheduled")] == [0, 0, 0],
               "all is done")
    equal(broker.ask("queue", "show", "load.v1.Item")["dead"], 0, "dead letters")
    seen = {int(line.split()[1]) for line in pathlib.Path(done).read_text().splitlines() if line}
    equal(sorted(acknowledged - seen), [], "acknowledged and lost")
    assert len(acknowledged) >= 300, f"only {len(acknowledged)} were acknowledged"


main([rekuest_01_call_by_signature_from_another_app, rekuest_06_a_blip_keeps_the_work_and_a_restart_gives_it_back_at_once,
      rekuest_14_a_serial_entry_under_load, plexo_p09_the_same_new_type_at_the_same_time,
      plexo_p09_also_where_the_broker_is_killed_meanwhile, plexo_p13_a_ring_of_three_brokers_delivers_each_event_once,
      plexo_p21_either_side_dies_twenty_times_under_load])
