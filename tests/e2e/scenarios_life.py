#!/usr/bin/env python3
"""The life of a task as users of rekuest know it: the scenarios of the survey, against a real broker, named after their numbers.

Usage: scenarios_life.py BUILD_DIR [TEST...]"""

import json

from broker import Broker, HILLOCK, Process, equal, main, wait_until
from wire import CODES, Connection, SCHEMA, crc32c

KINDS = SCHEMA.enums["UpdateKind"][1]
PHASES = {number: name for name, number in SCHEMA.enums["Phase"][1].items()}
VERBS = SCHEMA.enums["ReportVerb"][1]


def reconnect(port, session, **hello):
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


def yields(connection, ref, numbers):
    """Reports yields in one frame and returns the numbers that are acknowledged."""
    bodies = [f"item {n}".encode() for n in numbers]
    payload = b"".join(bodies)
    connection.send("REPORT", payload, crc=crc32c(payload),
                    items=[{"ref": ref, "verb": VERBS["Yield"], "app_code": n, "size": len(b)} for n, b in zip(numbers, bodies)])
    acknowledged = []
    while len(acknowledged) < len(bodies):
        for item in connection.expect("REPORTED")["items"]:
            equal((item["verb"], item["code"]), (VERBS["Yield"], CODES["OK"]), "the answer to a yield")
            acknowledged.append(item["number"])
    return acknowledged


def updates(connection, until):
    """Updates of one kind after the other until `until(list)`; [(kind, number, level, bytes)]."""
    found = []
    while not until(found):
        message, at = connection.expect("UPDATES"), 0
        for item in message["items"]:
            found.append((item["kind"], item["number"], item["level"], message.payload[at:at + item["size"]]))
            at += item["size"]
    return found


def numbers_of(found):
    return [number for kind, number, _, _ in found if kind == KINDS["Yield"]]


def rekuest_02_generator_in_order(scratch):
    """1000 yields, the worker cut at 500, the caller cut at some place: 0..999, then the result."""
    broker = Broker(scratch / "data", session_grace="1h")
    caller, worker = Connection(broker.port), Connection(broker.port)
    worker.serve("t.Gen", 1)
    caller.submit(1, 1, [b"x"], type="t.Gen", want_updates=True)
    caller.confirms(1)
    task = worker.task()
    ref = task["ref"]
    worker.report("Start", ref)
    equal(yields(worker, ref, range(0, 400)), list(range(400)), "the first acknowledgements")
    got = numbers_of(updates(caller, lambda found: len(numbers_of(found)) >= 200))
    worker.send("REPORT", b"lost?", crc=crc32c(b"lost?"),
                items=[{"ref": ref, "verb": VERBS["Yield"], "app_code": 400, "size": 5}])
    worker.close()
    caller.close()
    caller = reconnect(broker.port, caller.session)
    caller.send("AWAIT", tasks=[1], want_updates=True, from_yield=[len(got)])
    worker = reconnect(broker.port, worker.session)
    worker.send("SERVE", entries=[{"id": 1, "service": "t.Gen", "credit": 0}], held=[ref])
    equal(yields(worker, ref, range(300, 1000)), list(range(300, 1000)), "those that are said again are acknowledged, too")
    equal(worker.settle("Complete", ref, b"end", flags=1, delay_ms=1000), ("OK", "Done"), "answer")
    more = updates(caller, lambda found: numbers_of(found)[-1:] == [999])
    for number in numbers_of(more):
        if number == len(got):  # one further on was pushed before the broker had read the AWAIT: it comes again
            got.append(number)
    equal(len(got), 1000, "yields, each once and in order")
    item, body = caller.results(1)[1]
    equal((body, item["yields"]), (b"end", 1000), "the result, after the last yield")
    with Connection(broker.port) as late:
        late.send("AWAIT", tasks=[1], want_updates=True, from_yield=[990])
        equal(numbers_of(updates(late, lambda found: len(found) == 10)), list(range(990, 1000)), "another process, later")
        equal(late.results(1)[1][1], b"end", "and its result")


def rekuest_02_yields_survive_a_restart_and_the_next_attempt_goes_on(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as worker:
        worker.submit(1, 1, [b"x"], type="t.Gen", want_updates=True)
        worker.confirms(1)
        worker.serve("t.Gen", 1)
        ref = worker.task()["ref"]
        yields(worker, ref, range(20))
        broker.kill_group()
    broker = Broker(scratch / "data")
    with Connection(broker.port) as worker:
        worker.serve("t.Gen", 1)
        message = worker.expect("DELIVER")
        equal(message["yields"], [20], "what the next attempt is told")
        ref = {"task": 1, "attempt": message["items"][0]["attempt"], "epoch": message["epoch"]}
        equal(yields(worker, ref, [19, 20, 21]), [19, 20, 21], "one that is there, two that are not")
        equal(worker.settle("Complete", ref, flags=1, delay_ms=23), ("AGAIN", "Leased"), "a result before its last yield")
        equal(worker.settle("Complete", ref, flags=1, delay_ms=22), ("OK", "Done"), "the result")
        worker.send("AWAIT", tasks=[1], want_updates=True)
        equal(numbers_of(updates(worker, lambda found: len(found) == 22)), list(range(22)), "all of them")


def rekuest_13_progress_and_log_in_order_for_any_program(scratch):
    broker = Broker(scratch / "data")
    script = "for i in 1 2 3; do echo \"log $i line $i\" >&3; echo \"yield $i\" >&3; done; echo 'progress 1 all' >&3; sleep 0.1"
    broker.worker("t.Say", script, "--count", "1")
    caller = Process([HILLOCK, "--server", broker.url, "submit", "t.Say", "--wait", "--updates", "-o", "jsonl"])
    equal(caller.end(), 0, "exit code")
    lines = [json.loads(line) for line in caller.output().splitlines()]
    said = [(line["update"], line.get("number", line.get("level"))) for line in lines if "update" in line]
    equal(said[0], ("state", None), "the start comes first")
    rest = [pair for pair in said if pair[0] in ("log", "yield")]
    equal(rest, [("log", 1), ("yield", 0), ("log", 2), ("yield", 1), ("log", 3), ("yield", 2)], "in the order of the worker")
    equal(lines[-1]["state"], "done", "the outcome comes last")
    equal(broker.ask("task", "show", 1)["yields"], 3, "task show")


SIGNALS = {number: name for name, number in SCHEMA.enums["Signal"][1].items()}
NEVER = 1


def signals(connection, count=1):
    """The names of the next signals."""
    found = []
    while len(found) < count:
        found += [SIGNALS[item["signal"]] for item in connection.expect("SIGNALS")["items"]]
    return found


def state_of(broker, task):
    return broker.ask("task", "show", task)["state"]


def rekuest_03_cancel_is_seen_and_confirmed_and_a_late_result_is_dropped(scratch):
    broker = Broker(scratch / "data", cancel_grace="1h")
    worker, caller = Connection(broker.port), Connection(broker.port)
    worker.serve("t.C", 1)
    caller.submit(1, 1, [b"x"], type="t.C", want_updates=True)
    caller.confirms(1)
    ref = worker.task()["ref"]
    worker.report("Start", ref)
    broker.run("task", "cancel", 1)
    equal(signals(worker), ["Cancel"], "the worker hears of it")
    seen = updates(caller, lambda found: any(PHASES[level] == "Cancelling" for kind, _, level, _ in found if kind == KINDS["State"]))
    equal([PHASES[level] for _, _, level, _ in seen], ["Started", "Cancelling"], "what the caller sees")
    equal(worker.settle("Cancelled", ref), ("OK", "Cancelled"), "the confirmation")
    equal(worker.settle("Complete", ref, b"late")[0], "LATE_RESULT", "a late result")
    equal(caller.results(1)[1][0]["code"], CODES["CANCELLED"], "the outcome")
    caller.submit(1, 2, [b"y"], type="t.Nobody", want_result=True)
    caller.confirms(1)
    broker.run("task", "cancel", 2)
    equal(caller.results(1)[2][0]["code"], CODES["CANCELLED"], "one that waits needs no worker")


def rekuest_03_a_silent_worker_is_overruled_at_the_deadline_also_after_a_restart(scratch):
    broker = Broker(scratch / "data", cancel_grace="1500ms", session_grace="1h")
    worker = Connection(broker.port)
    worker.serve("t.C", 1)
    worker.submit(1, 1, [b"x"], type="t.C", redelivery=NEVER)
    worker.confirms(1)
    worker.report("Start", worker.task()["ref"])
    wait_until(lambda: state_of(broker, 1) == "started", "it is started")
    broker.run("task", "cancel", 1)
    broker.kill_group()
    broker = Broker(scratch / "data", cancel_grace="1h", session_grace="1h")
    wait_until(lambda: state_of(broker, 1) == "cancelled", "the deadline of before the restart")


def rekuest_04_interrupt_reaches_a_whole_tree_and_cancel_its_root_alone(scratch):
    broker = Broker(scratch / "data", cancel_grace="1h")
    workers = [Connection(broker.port) for _ in range(3)]
    refs, kinds = [], ["t.Root", "t.Child", "t.Leaf"]
    for level, worker in enumerate(workers):
        worker.serve(kinds[level], 1)
        sender = workers[max(level - 1, 0)]
        sender.submit(1 + level, 1, [b"x"], type=kinds[level], parent=level)
        equal(sender.confirms(1)[0]["code"], CODES["OK"], "a part of what one holds")
        refs.append(worker.task()["ref"])
        worker.report("Start", refs[-1])
    workers[2].submit(9, 1, [b"x"], type="t.Root", parent=1)
    equal(workers[2].confirms(1)[0]["code"], CODES["PERMISSION"], "a part of what another holds")
    equal([row["id"] for row in broker.ask("task", "tree", 1)], [1, 2, 3], "the tree")
    equal(broker.ask("task", "show", 3)["root"], 1, "its root")
    broker.run("task", "cancel", 1)
    equal(signals(workers[0]), ["Cancel"], "cancel reaches the root")
    equal(workers[1].receive(("SIGNALS",), 0.2), None, "and no other")
    broker.run("task", "interrupt", 1)
    for worker, ref in zip(workers, refs):
        wait_until(lambda: "Interrupt" in signals(worker), "the interrupt")
        equal(worker.settle("Cancelled", ref), ("OK", "Cancelled"), "its confirmation")


def rekuest_05_a_worker_that_dies_safe_runs_again_never_is_lost(scratch):
    broker = Broker(scratch / "data")
    worker, caller = Connection(broker.port), Connection(broker.port)
    worker.serve("t.Die", 2)
    caller.submit(1, 1, [b"safe"], type="t.Die", want_result=True)
    caller.submit(1, 2, [b"never"], type="t.Die", want_result=True, redelivery=NEVER)
    caller.confirms(2)
    for _ in range(2):
        worker.report("Start", worker.task()["ref"])
    worker.round_trip()
    worker.close()
    item, _ = caller.results(1)[2]
    equal((item["state"], item["code"]), (9, CODES["LOST"]), "never: lost")
    caller.serve("t.Die", 5)
    again = caller.task()
    equal((again["ref"]["task"], again["ref"]["attempt"]), (1, 2), "safe: the next attempt")
    equal(caller.settle("Complete", again["ref"]), ("OK", "Done"), "answer")
    equal(caller.task(0.3), None, "never: not again")


def rekuest_05_never_over_a_restart_the_same_session_goes_on_and_another_does_not(scratch):
    broker = Broker(scratch / "data", session_grace="2s")
    worker = Connection(broker.port)
    worker.serve("t.Once", 3)
    worker.submit(1, 1, [b"a", b"b", b"c"], type="t.Once", redelivery=NEVER)
    worker.confirms(3)
    refs = {task["ref"]["task"]: task["ref"] for task in (worker.task(), worker.task(), worker.task())}
    broker.kill_group()
    broker = Broker(scratch / "data", session_grace="2s")
    thief = Connection(broker.port)
    thief.send("SERVE", entries=[{"id": 1, "service": "t.Once", "credit": 9}], held=[refs[1]])
    equal(thief.settle("Complete", refs[1])[0], "STALE_LEASE", "another session with the same token")
    again = Connection(broker.port, session=worker.session)
    equal(again.welcome["resumed"], False, "the session is new to this process")
    again.send("SERVE", entries=[{"id": 1, "service": "t.Once", "credit": 9}], held=[refs[1], refs[2]])
    equal(again.settle("Complete", refs[1]), ("OK", "Done"), "the same session goes on")
    wait_until(lambda: state_of(broker, 3) == "lost", "one that is not named is lost after the grace")
    equal(again.settle("Complete", refs[2]), ("OK", "Done"), "and one that is named is not")
    equal((thief.task(0.1), again.task(0.1)), (None, None), "nothing is handed out again")


def rekuest_07_split_brain_one_identity_one_session(scratch):
    broker = Broker(scratch / "data", heartbeat="1h", session_grace="1h")
    first = Connection(broker.port, hello=False)
    first.send("HELLO", versions=[1], session=first.session, identity="press")
    first.expect("WELCOME")
    first.serve("t.Press", 1)
    first.submit(1, 1, [b"x"], type="t.Press")
    first.confirms(1)
    old = first.task()["ref"]
    second = Connection(broker.port, hello=False)
    second.send("HELLO", versions=[1], session=second.session, identity="press")
    equal(second.expect("ERROR")["code"], CODES["DUPLICATE_SESSION"], "the second is refused")
    third = Connection(broker.port, hello=False)
    third.send("HELLO", versions=[1], session=third.session, identity="press", force=True)
    third.expect("WELCOME")
    equal(first.expect("GOODBYE")["code"], CODES["DISPLACED"], "what the first is told")
    third.serve("t.Press", 1)
    new = third.task()["ref"]
    equal((new["task"], new["attempt"]), (1, 2), "the task goes over")
    late = Connection(broker.port, session=first.session)
    equal(late.settle("Complete", old)[0], "STALE_LEASE", "the displaced one is fenced")
    equal(third.settle("Complete", new), ("OK", "Done"), "answer")


def rekuest_13_pause_step_resume_are_confirmed_by_the_worker(scratch):
    broker = Broker(scratch / "data")
    worker = Connection(broker.port)
    worker.serve("t.P", 1)
    worker.submit(1, 1, [b"x"], type="t.P")
    worker.confirms(1)
    ref = worker.task()["ref"]
    worker.report("Start", ref)
    for verb, signal, before, answer, after in (("pause", "Pause", "pausing", "Paused", "paused"),
                                                ("step", "Step", "stepping", "Paused", "paused"),
                                                ("resume", "Resume", "resuming", "Resumed", None)):
        broker.run("task", verb, 1)
        equal(signals(worker), [signal], "the signal")
        equal(broker.ask("task", "show", 1).get("phase"), before, "until the worker has confirmed")
        worker.report(answer, ref)
        worker.round_trip()
        equal(broker.ask("task", "show", 1).get("phase"), after, "then")
    equal(worker.settle("Complete", ref), ("OK", "Done"), "answer")
    broker.run("task", "pause", 1, status=5)


def the_four_timeouts_and_the_warning_before_them(scratch):
    broker = Broker(scratch / "data")
    worker = Connection(broker.port)
    worker.serve("t.T", 4)
    worker.submit(1, 1, [b"x"], type="t.T", expires_ms=300, want_result=True)
    equal(worker.task()["ref"]["task"], 1, "schedule-to-start: it is delivered, and never started")
    equal(worker.results(1)[1][0]["code"], CODES["EXPIRED"], "schedule-to-start")
    worker.submit(1, 2, [b"x"], type="t.T", heartbeat_ms=400, max_attempts=1, want_result=True)
    ref = worker.task()["ref"]
    worker.report("Start", ref)
    for _ in range(3):
        worker.receive(("SIGNALS",), 0.25)
        worker.report("Progress", ref, app_code=1)
    equal(state_of(broker, 2), "started", "progress is a sign of life")
    wait_until(lambda: "DeadlineSoon" in signals(worker), "the warning")
    equal(worker.results(1)[2][0]["code"], CODES["TIMEOUT"], "heartbeat")
    worker.submit(1, 3, [b"x"], type="t.T", close_ms=400, delay_ms=3600000, want_result=True)
    worker.submit(1, 4, [b"x"], type="t.T", execution_ms=300, max_attempts=1, want_result=True)
    worker.report("Start", worker.task()["ref"])
    results = worker.results(2)
    equal((results[3][0]["code"], results[3][0]["state"]), (CODES["TIMEOUT"], 8), "schedule-to-close")
    equal(results[4][0]["code"], CODES["TIMEOUT"], "start-to-close")


def a_dead_letter_tells_what_its_attempts_were(scratch):
    broker = Broker(scratch / "data")
    worker = Connection(broker.port, client="press 4")
    worker.serve("t.H", 1)
    worker.submit(1, 1, [b"x"], type="t.H", max_attempts=3)
    worker.confirms(1)
    for number in range(3):
        ref = worker.task()["ref"]
        worker.settle("Fail", ref, f"reason {number}".encode(), **{"class": CODES["TRANSIENT"], "app_code": number})
        worker.send("CREDIT", items=[{"entry": 1, "credit": 1}])
    wait_until(lambda: state_of(broker, 1) == "dead", "the dead letter")
    want = [(n + 1, "TRANSIENT", n, "press 4", f"reason {n}") for n in range(3)]
    for _ in range(2):
        told = broker.ask("dlq", "show", 1)["attempts"]
        equal([(a["attempt"], a["code"], a["app_code"], a["worker"], a["text"]) for a in told], want, "the history")
        broker.kill_group()
        broker = Broker(scratch / "data")
    equal(broker.run("dlq", "redrive", "t.H", "--code", "DEPENDENCY", "-o", "json")["redriven"], 0, "of another class")
    equal(broker.run("dlq", "redrive", "t.H", "--code", "TRANSIENT", "--rate", "5", "-o", "json")["redriven"], 1, "of this class")
    jobs = broker.ask("dlq", "jobs")
    equal([(j["queue"], j["state"], j["redriven"], j["code"]) for j in jobs], [("t.H", "done", 1, "TRANSIENT")], "the job in the broker")
    broker.run("dlq", "redrive", "t.H", "--rate", "5", "--id", "1", status=1)


if __name__ == "__main__":
    main([rekuest_02_generator_in_order, rekuest_02_yields_survive_a_restart_and_the_next_attempt_goes_on,
          rekuest_03_cancel_is_seen_and_confirmed_and_a_late_result_is_dropped,
          rekuest_03_a_silent_worker_is_overruled_at_the_deadline_also_after_a_restart,
          rekuest_04_interrupt_reaches_a_whole_tree_and_cancel_its_root_alone,
          rekuest_05_a_worker_that_dies_safe_runs_again_never_is_lost,
          rekuest_05_never_over_a_restart_the_same_session_goes_on_and_another_does_not,
          rekuest_07_split_brain_one_identity_one_session, rekuest_13_pause_step_resume_are_confirmed_by_the_worker,
          a_dead_letter_tells_what_its_attempts_were,
          rekuest_13_progress_and_log_in_order_for_any_program, the_four_timeouts_and_the_warning_before_them])
