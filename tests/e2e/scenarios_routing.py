#!/usr/bin/env python3
"""Whom a message is for: tasks for one worker or for nobody at all, calls that wait for a holder, answers as a part of the type.

Usage: scenarios_routing.py BUILD_DIR [TEST...]"""

import signal

from broker import Broker, contains, equal, main, wait_until
from wire import CODES, Connection

TASK, SERVICE = "print.v1.Page", "math.v1.AddOne"
REFUSED, NOT_FOUND = 5, 2


def refusal(connection, producer, sequence, **head):
    """The code of one submission that is answered."""
    connection.submit(producer, sequence, [b"x"], **head)
    return connection.confirms(1)[0]["code"]


def answer_of(caller):
    item, payload = caller.answers()[0]
    return item["code"], payload


def a_task_for_one_worker_waits_for_it_and_for_nobody_else(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, identity="press 3") as other, Connection(broker.port) as plain, Connection(broker.port) as caller:
        other.serve(TASK, credit=5)
        plain.serve(TASK, credit=5)
        task = broker.ask("submit", TASK, "-p", "mine", "--worker", "press 4")["id"]
        caller.submit(1, 1, [b"anybody's"], type=TASK)
        for_all = caller.confirms(1)[0]["first_task"]
        wait_until(lambda: broker.ask("task", "show", for_all)["state"] == "leased", "what anybody may do is handed out")
        reasons = [(r["reason"], r.get("predicate", ""), r.get("value", "")) for r in broker.ask("task", "why", task)]
        equal(sorted(reasons), [("requirement", 'hillock.identity == "press 4"', ""),
                                ("requirement", 'hillock.identity == "press 4"', '"press 3"')], "why it waits")
        with Connection(broker.port, identity="press 4") as press:
            press.serve(TASK, credit=1)
            equal(press.task()["payload"], b"mine", "what its worker gets")
            found = [bytes(entry["entry"]["params"], "utf8") for entry in caller.look(where='hillock.identity == "press 4"')]
            equal(found, [b'hillock.identity="press 4"'], "who it is stands in the directory")
            caller.call(1, b"?", service=TASK, where='hillock.identity == "press 4"')
            press.invoked()  # and calls find it by it


def nobody_passes_itself_off_as_another_worker(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as liar, Connection(broker.port) as caller:
        liar.send("SERVE", entries=[{"id": 1, "service": TASK, "credit": 1, "params": 'hillock.identity="press 4"'}])
        error = liar.expect("ERROR")
        equal(error["code"], CODES["INVALID_INPUT"], "the code")
        contains(error["text"], "hillock. are the broker's")
        equal(caller.look(), [], "entries")


def a_fail_fast_task_is_refused_where_nobody_could_take_it(scratch):
    broker = Broker(scratch / "data", session_grace="1h")
    delivered = CODES["NOT_DELIVERED"]
    with Connection(broker.port) as caller:
        equal(refusal(caller, 1, 1, type=TASK, fail_fast=True), delivered, "without a queue")
        with Connection(broker.port, client="a worker") as worker:
            worker.declare({"id": 1, "service": TASK, "credit": 1, "params": "gpu=A100"})
            equal(refusal(caller, 1, 2, type=TASK, fail_fast=True, requirements="gpu == H100"), delivered, "nobody fits")
            equal(refusal(caller, 1, 3, type=TASK, fail_fast=True, requirements="gpu == A100"), 0, "somebody does")
            worker.task()
            equal(refusal(caller, 1, 4, type=TASK, fail_fast=True), 0, "it is busy, and will be free")
            broker.run("worker", "drain", "a worker")
            equal(refusal(caller, 1, 5, type=TASK, fail_fast=True), delivered, "it takes no more")
            equal(refusal(caller, 1, 6, type=TASK), 0, "who does not ask for it waits")
            equal(refusal(caller, 1, 3, type=TASK, fail_fast=True, requirements="gpu == A100"), 0, "what was taken once stays taken")
        with Connection(broker.port) as asked:  # one that answers calls alone is none for tasks
            asked.declare({"id": 1, "service": TASK})
            equal(refusal(caller, 1, 7, type=TASK, fail_fast=True), delivered, "calls only")
            asked.send("CREDIT", items=[{"entry": 1, "credit": 1}])
            asked.round_trip()
            equal(refusal(caller, 1, 8, type=TASK, fail_fast=True), 0, "now for tasks, too")
    done = broker.run("submit", "nobody.v1.Home", "-p", "x", "--fail-fast", status=NOT_FOUND)
    contains(done.stderr, "no live entry of nobody.v1.Home could take it (NOT_DELIVERED)")


def who_could_take_a_task_is_looked_for_where_it_would_go(scratch):
    """Through bindings of queues, old names of types, and in the vnet of who submits."""
    broker = Broker(scratch / "data")
    delivered = CODES["NOT_DELIVERED"]
    broker.run("queue", "create", "press")
    broker.run("queue", "bind", "press", "print.*")
    broker.run("type", "register", "scan.v1.Page", "--alias", "old.Scan")
    with Connection(broker.port) as caller, Connection(broker.port) as worker:
        equal(refusal(caller, 1, 1, type=TASK, fail_fast=True), delivered, "nobody serves the queue it is bound to")
        worker.declare({"id": 1, "service": "press", "by_queue": True, "credit": 3}, {"id": 2, "service": "old.Scan", "credit": 3})
        equal(refusal(caller, 1, 2, type=TASK, fail_fast=True), 0, "somebody does")
        equal(refusal(caller, 1, 3, type="scan.v1.Page", fail_fast=True), 0, "who serves the old name serves the type")
        equal(refusal(caller, 1, 4, type="old.Scan", fail_fast=True), 0, "and the other way round")
        equal(refusal(caller, 1, 5, type=TASK, queue="other", fail_fast=True), delivered, "a queue that is named goes before the binding")
        worker.declare({"id": 1, "service": "press", "by_queue": True, "credit": 3})
        equal(refusal(caller, 1, 6, type="old.Scan", fail_fast=True), delivered, "an entry that was withdrawn")
        with Connection(broker.port, vnet="lab") as stranger:
            equal(refusal(stranger, 2, 1, type="press", queue="press", fail_fast=True), delivered, "another vnet has its own")
            with Connection(broker.port, vnet="lab") as its:
                its.declare({"id": 1, "service": "press", "by_queue": True, "credit": 1})
                equal(refusal(stranger, 2, 2, type="press", queue="press", fail_fast=True), 0, "and its own workers")


def a_call_waits_for_a_holder_where_it_is_to(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as caller, Connection(broker.port) as other:
        caller.call(1, b"41", service=SERVICE, where="precision >= 64", wait=True, deadline_ms=600000)
        caller.call(2, b"1", service=SERVICE, where="precision >= 64", deadline_ms=600000)
        equal([(i["call"], i["code"]) for i, _ in caller.answers()], [(2, CODES["NOT_DELIVERED"])], "who does not wait")
        other.declare({"id": 1, "service": SERVICE, "params": "precision=32"})  # one that does not fit
        caller.call(3, b"1", service=SERVICE, where="precision >= 64", deadline_ms=600000)
        equal([(i["call"], i["code"]) for i, _ in caller.answers()], [(3, CODES["NOT_DELIVERED"])], "still nobody fits")
        caller.call(4, b"5", service=SERVICE, deadline_ms=600000)
        equal(other.invoked()[0][0][1], b"5", "those who find somebody do not stand behind those who do not")
        caller.call(5, b"7", service=SERVICE, where="precision >= 128", wait=True, deadline_ms=50)
        equal(answer_of(caller), (CODES["TIMEOUT"], b"no holder was free within the deadline"), "its deadline holds")
        with Connection(broker.port) as holder:
            holder.declare({"id": 1, "service": SERVICE, "params": "precision=64"})
            item, payload = holder.invoked()[0][0]
            equal(payload, b"41", "as soon as somebody fits")
            holder.answer(item["call"], b"42")
            equal(answer_of(caller), (0, b"42"), "the answer")
            caller.call(6, b"8", service=SERVICE, where="precision == 64", wait=True)
            holder.invoked()
            holder.send("GOODBYE")  # with the call in work: that it waits is no promise to ask twice
            equal(answer_of(caller)[0], CODES["NOT_DELIVERED"], "a holder that goes")
        for values in ({"service": SERVICE, "all": True}, {"binding": 1}):
            caller.call(7, b"x", wait=True, **values)
            contains(caller.expect("ERROR")["text"], "CALL.wait")
        caller.call(8, b"41", service="nobody.v1.Home", wait=True, deadline_ms=600000)
        caller.send("GOODBYE")  # who has gone waits for nothing
        wait_until(lambda: other.round_trip()["calls_open"] == 0, "nothing is left of it")
    done = broker.run("call", "nobody.v1.Home", "--wait", "--deadline", "20ms", status=4)
    contains(done.stderr, "TIMEOUT")


def whether_a_call_is_answered_once_or_in_parts_belongs_to_its_type(scratch):
    broker = Broker(scratch / "data")
    shown = broker.ask("type", "register", "math.v1.Count", "--answers", "stream", "--alias", "count")
    equal(shown["answers"], "stream", "what it says")
    broker.run("type", "register", SERVICE, "--answers", "one")
    for _ in range(2):
        with Connection(broker.port) as holder, Connection(broker.port) as caller:
            holder.declare({"id": 1, "service": "all"})
            for number, (name, stream) in enumerate((("math.v1.Count", False), ("count", False), (SERVICE, True)), 1):
                caller.call(number, b"x", service="all", type=name, stream=stream)
                code, text = answer_of(caller)
                equal(code, CODES["SCHEMA_MISMATCH"], name)
                contains(text.decode(), "answered in parts, and" if not stream else "answered once, and")
            for number, (name, stream) in enumerate((("math.v1.Count", True), (SERVICE, False), ("plain.v1.Type", True)), 4):
                caller.call(number, b"x", service="all", type=name, stream=stream)
                equal(holder.invoked()[1]["type"], name, "who asks as the type says reaches a holder")
        contains(broker.run("type", "register", "math.v1.Count", "--answers", "one", status=REFUSED).stderr,
                 "answers: calls of type math.v1.Count are answered in parts (INCOMPATIBLE)")
        broker.run("type", "register", "math.v1.Count", "--answers", "stream")  # the same again is no change
        broker.run("checkpoint")
        broker.end(signal.SIGKILL)
        broker = Broker(scratch / "data", port=broker.port)
    broker.run("type", "rm", "math.v1.Count")
    equal(broker.ask("type", "register", "math.v1.Count", "--answers", "one")["answers"], "one", "a new type of the name")


main([a_task_for_one_worker_waits_for_it_and_for_nobody_else, nobody_passes_itself_off_as_another_worker,
      a_fail_fast_task_is_refused_where_nobody_could_take_it, who_could_take_a_task_is_looked_for_where_it_would_go, a_call_waits_for_a_holder_where_it_is_to,
      whether_a_call_is_answered_once_or_in_parts_belongs_to_its_type])
