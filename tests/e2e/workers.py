#!/usr/bin/env python3
"""Workers and producers that fail in every way they can, against a real broker.

Usage: workers.py BUILD_DIR [TEST...]. Each name is the answer that docs/guarantees.md promises."""

import signal
import time

from broker import Broker, WAIT_S, contains, equal, main, wait_until
from wire import CODES, Closed, Connection, SIGNALS

# `hillock work` runs its command under /bin/sh, which ends here when the worker is gone.
WHILE_PARENT_LIVES = "while kill -0 $PPID 2>/dev/null; do sleep 0.02; done"


def state_of(broker, task):
    return broker.ask("task", "show", task)["state"]


def reconnect(port, session):
    """The same session again; while the old connection still seems alive the broker says so."""
    def attempt():
        connection = Connection(port, session=session, hello=False)
        connection.send("HELLO", versions=[1], session=session, resume=True)
        answer = connection.expect("WELCOME", "ERROR")
        if answer.kind == "WELCOME":
            connection.welcome = answer
            return connection
        equal((answer["code"], answer["fatal"]), (CODES["DUPLICATE_SESSION"], True), "refusal of the second connection")
        connection.close()
        return None
    return wait_until(attempt, "a resumed session")


def a_worker_killed_mid_task_costs_an_attempt_only_where_it_had_started(scratch):
    broker = Broker(scratch / "data")
    worker = broker.worker("t.Kill", WHILE_PARENT_LIVES, "--prefetch", "1")
    with Connection(broker.port) as me:
        me.submit(1, 1, [b"one", b"two"], type="t.Kill")
        me.confirms(2)
        wait_until(lambda: state_of(broker, 1) == "started" and state_of(broker, 2) == "leased", "one started, one prefetched")
        worker.kill_group()
        me.serve("t.Kill", 2)
        tasks = {t["ref"]["task"]: t for t in (me.task(), me.task())}
        equal(me.round_trip()["sessions_lost_total"], 1, "the session was lost first, after its grace")
        equal({n: t["ref"]["attempt"] for n, t in tasks.items()}, {1: 2, 2: 2}, "attempts")
        me.send("AWAIT", tasks=[1, 2])
        for task in tasks.values():
            equal(me.settle("Complete", task["ref"]), ("OK", "Done"), "answer")
        results = me.results(2)
        equal({n: item["failed"] for n, (item, _) in results.items()}, {1: 1, 2: 0}, "failed attempts")


def a_lost_worker_comes_back_within_the_grace_and_keeps_its_lease(scratch):
    broker = Broker(scratch / "data", session_grace="1h")
    worker = Connection(broker.port)
    worker.submit(1, 1, [b"x"], type="t.Back")
    worker.confirms(1)
    worker.serve("t.Back", 1)
    task = worker.task()
    worker.report("Start", task["ref"])
    worker.round_trip()
    worker.close()
    again = reconnect(broker.port, worker.session)
    equal(again.welcome["resumed"], True, "resumed")
    equal(again.settle("Complete", task["ref"], b"r"), ("OK", "Done"), "answer")


def a_delivery_lost_with_the_connection_is_given_out_again(scratch):
    broker = Broker(scratch / "data", session_grace="1h")
    worker = Connection(broker.port)
    worker.submit(1, 1, [b"known", b"lost"], type="t.Held")
    worker.confirms(2)
    worker.serve("t.Held", 2)
    known = worker.task()
    wait_until(lambda: broker.ask("queue", "show", "t.Held")["leased"] == 2, "both are leased")
    worker.close()
    again = reconnect(broker.port, worker.session)
    again.send("SERVE", entries=[{"id": 1, "service": "t.Held", "credit": 2}], held=[known["ref"]])
    lost = again.task()
    equal((lost["payload"], lost["ref"]["attempt"]), (b"lost", 2), "what comes again")
    for task in (known, lost):
        equal(again.settle("Complete", task["ref"]), ("OK", "Done"), "answer")


def a_worker_past_its_execution_limit_is_a_timeout_and_its_late_answer_is_refused(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        me.serve("t.Stall", 1)
        me.submit(1, 1, [b"x"], type="t.Stall", execution_ms=150, max_attempts=2, want_result=True)
        me.confirms(1)
        first = me.task()
        me.report("Start", first["ref"])
        lost = next(s for s in iter(lambda: me.expect("SIGNALS")["items"][0], None) if s["signal"] == SIGNALS["LeaseLost"])
        equal((lost["ref"], lost["code"]), (first["ref"], CODES["TIMEOUT"]), "the signal")
        equal(me.settle("Complete", first["ref"], b"late")[0], "STALE_LEASE", "late answer, the task is to be tried again")
        me.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        second = me.task()
        equal(second["ref"]["attempt"], 2, "attempt")
        equal(me.settle("Complete", first["ref"], b"late")[0], "STALE_LEASE", "late answer, another attempt runs")
        me.report("Start", second["ref"])
        item, _ = me.results(1)[1]
        equal((item["state"], item["code"], item["failed"]), (10, CODES["TIMEOUT"], 2), "dead by two timeouts")
        equal(me.settle("Complete", second["ref"], b"late")[0], "LATE_RESULT", "late answer, the task is dead")


def an_answer_given_twice_counts_once(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        me.serve("t.Twice", 1)
        me.submit(1, 1, [b"x"], type="t.Twice", want_result=True)
        task = me.task()
        equal(me.settle("Complete", task["ref"], b"first"), ("OK", "Done"), "first answer")
        equal(me.settle("Complete", task["ref"], b"first"), ("OK", "Done"), "the same again")
        equal(me.settle("Fail", task["ref"], b"no", **{"class": CODES["PERMANENT"]})[0], "LATE_RESULT", "another outcome")
        equal(me.results(1)[1][1], b"first", "result")
        equal(broker.ask("queue", "show", "t.Twice")["done_total"], 1, "done")


def an_answer_after_the_lease_was_lost_changes_nothing(scratch):
    broker = Broker(scratch / "data")
    late, other = Connection(broker.port), Connection(broker.port)
    late.submit(1, 1, [b"x"], type="t.Late", retention_ms=3600000)
    late.confirms(1)
    late.serve("t.Late", 1)
    old = late.task()
    late.report("Start", old["ref"])
    late.round_trip()
    late.close()
    other.serve("t.Late", 1)
    new = other.task()
    back = reconnect(broker.port, late.session)
    equal(back.welcome["resumed"], False, "the grace is over")
    equal(back.settle("Complete", old["ref"], b"old")[0], "STALE_LEASE", "while another works on it")
    equal(other.settle("Complete", new["ref"], b"new"), ("OK", "Done"), "the holder's answer")
    equal(back.settle("Complete", old["ref"], b"old")[0], "LATE_RESULT", "when it is done")
    equal(back.settle("Complete", new["ref"], b"forged")[0], "LATE_RESULT", "with another's token")
    other.send("AWAIT", tasks=[1])
    equal(other.results(1)[1][1], b"new", "result")


def a_lease_of_the_time_before_a_restart_is_void(scratch):
    broker = Broker(scratch / "data")
    worker = Connection(broker.port)
    worker.submit(1, 1, [b"x"], type="t.Epoch")
    worker.confirms(1)
    worker.serve("t.Epoch", 1)
    old = worker.task()
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    with Connection(broker.port, session=worker.session, resume=True) as again:
        equal(again.welcome["resumed"], False, "resumed")
        equal(again.settle("Complete", old["ref"])[0], "STALE_LEASE", "old token")
        again.serve("t.Epoch", 1)
        new = again.task()
        equal(new["ref"]["epoch"] > old["ref"]["epoch"], True, "a later epoch")
        equal(again.settle("Complete", new["ref"]), ("OK", "Done"), "new token")


def a_producer_that_vanishes_before_the_confirm_gets_the_same_task_when_it_comes_back(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as other:
        lost = Connection(broker.port)
        lost.submit(77, 1, [b"x"], type="t.Vanish")
        lost.close()
        wait_until(lambda: other.round_trip()["tasks_submitted_total"] == 1, "the task arrived")
        original = other.ask("TaskList", name="t.Vanish", state=2)["tasks"][0]["task"]
    again = reconnect(broker.port, lost.session)
    again.submit(77, 1, [b"x"], type="t.Vanish")
    run = again.confirms(1)[0]
    equal((run["first_task"], run["duplicate"], run["code"]), (original, True, 0), "answer to the same submission")
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    with Connection(broker.port, session=lost.session, resume=True) as after:
        after.submit(77, 1, [b"x"], type="t.Vanish")
        run = after.confirms(1)[0]
        equal((run["first_task"], run["duplicate"], run["code"]), (original, True, 0), "answer after kill -9")
        after.submit(77, 2, [b"y"], type="t.Vanish", resolved_below=2)
        equal(after.confirms(1)[0]["duplicate"], False, "the next one is new")
        after.submit(77, 1, [b"x"], type="t.Vanish")
        equal(after.confirms(1)[0]["code"], CODES["STALE_SUBMIT"], "what was declared resolved")
    equal(broker.ask("queue", "show", "t.Vanish")["ready"], 2, "tasks")


def a_batch_of_which_nobody_knows_whether_it_arrived_is_there_once_after_kill_9(scratch):
    broker = Broker(scratch / "data")
    for number in range(1, 6):
        lost = Connection(broker.port)
        lost.submit(9, 100 * number - 99, [b"p%d" % i for i in range(100)], resolved_below=1, type="t.Batch")
        broker.end(signal.SIGKILL)
        broker = Broker(scratch / "data")
        with Connection(broker.port, session=lost.session, resume=True) as again:
            for first in (100 * number - 99, 100 * number - 49):
                again.submit(9, first, [b"p%d" % i for i in range(50)], resolved_below=1, type="t.Batch")
            equal({run["code"] for run in again.confirms(100)}, {0}, "codes")
        equal(broker.ask("queue", "show", "t.Batch")["ready"], 100 * number, "tasks")


def an_idempotency_key_stands_for_one_task_over_kill_9_and_after_it_is_done(scratch):
    broker = Broker(scratch / "data")
    first = broker.ask("submit", "t.Key", "--payload", "a", "--key", "k1")["id"]
    equal(broker.ask("submit", "t.Key", "--payload", "a", "--key", "k1")["id"], first, "again")
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    equal(broker.ask("submit", "t.Key", "--payload", "a", "--key", "k1")["id"], first, "after kill -9")
    other = broker.ask("submit", "t.Key", "--payload", "a", "--key", "k2")["id"]
    equal(other != first, True, "another key is another task")
    worker = broker.worker("t.Key", "cat", "--count", "2")
    equal(worker.end(), 0, "the worker's exit")
    equal(broker.ask("submit", "t.Key", "--payload", "a", "--key", "k1")["id"], first, "when it is done")
    broker.end(signal.SIGTERM)
    broker = Broker(scratch / "data")
    equal(broker.ask("submit", "t.Key", "--payload", "a", "--key", "k1")["id"], first, "after a restart from a checkpoint")
    equal(broker.ask("queue", "show", "t.Key")["submitted_total"], 2, "tasks ever")


def a_delayed_task_waits_and_an_expired_one_is_never_handed_out(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        begun = time.monotonic()
        me.submit(1, 1, [b"later"], type="t.Time", delay_ms=300)
        me.submit(1, 2, [b"gone"], type="t.Time", expires_ms=100, want_result=True)
        me.confirms(2)
        equal(state_of(broker, 1), "scheduled", "state while it waits")
        item, _ = me.results(1)[2]
        equal((item["state"], item["code"]), (8, CODES["EXPIRED"]), "outcome of the expired one")
        me.serve("t.Time", 10)
        equal(me.task()["payload"], b"later", "what is handed out")
        # The broker counts whole milliseconds, from the one in which it read the submission.
        equal(time.monotonic() - begun > 0.299, True, "not before its time")
        equal(me.round_trip()["delivered_total"], 1, "delivered")
    done = broker.run("submit", "t.Time2", "--expires", "50ms", "--wait", "-o", "json", status=3)
    contains(done.stdout, '"expired"')


def a_delay_goes_on_over_a_restart(scratch):
    broker = Broker(scratch / "data")
    begun = time.time()
    task = broker.ask("submit", "t.Delay", "--delay", "700ms")["id"]
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        me.serve("t.Delay", 1)
        equal(me.task()["ref"]["task"], task, "task")
        equal(time.time() - begun >= 0.69, True, "not before its time")


def priorities_are_served_highest_first_and_in_order_within(scratch):
    broker = Broker(scratch / "data")
    broker.run("queue", "create", "t.Prio")
    broker.run("queue", "pause", "t.Prio")
    for name, priority in (("a", 4), ("b", 31), ("c", 0), ("d", 31), ("e", 4)):
        row = broker.ask("submit", "t.Prio", "--payload", name, "--priority", priority)
        equal(broker.ask("task", "show", row["id"])["priority"], priority, "priority as shown")
    with Connection(broker.port) as me:
        me.serve("t.Prio", 10)
        equal(me.round_trip()["delivered_total"], 0, "handed out by a paused queue")
        broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        me.serve("t.Prio", 10)
        me.round_trip()
        equal(me.round_trip()["delivered_total"], 0, "the pause is durable")
        broker.run("queue", "resume", "t.Prio")
        equal(b"".join(me.task()["payload"] for _ in range(5)), b"bdaec", "order")


def a_waiting_task_is_cancelled_at_once_and_a_running_one_by_its_worker(scratch):
    broker = Broker(scratch / "data")
    waiting = broker.ask("submit", "t.Cancel")["id"]
    broker.run("task", "cancel", waiting)
    contains(broker.run("task", "wait", waiting, "-o", "json", status=3).stdout, '"cancelled"')
    with Connection(broker.port) as me:
        me.serve("t.Cancel", 2)
        me.submit(1, 1, [b"x", b"y"], type="t.Cancel", want_result=True)
        me.confirms(2)
        polite, silent = me.task(), me.task()
        equal(polite["ref"]["task"] != waiting, True, "the cancelled one is not handed out")
        for task in (polite, silent):
            me.report("Start", task["ref"])
            equal(me.ask("TaskCancel", tasks=[task["ref"]["task"]])["code"], 0, "cancel")
            signal_item = me.expect("SIGNALS")["items"][0]
            equal((signal_item["signal"], signal_item["ref"]), (SIGNALS["Cancel"], task["ref"]), "the signal")
            if task is polite:
                equal(me.settle("Cancelled", task["ref"]), ("OK", "Cancelled"), "answer")
        results = me.results(2)
        equal({item["state"] for item, _ in results.values()}, {7}, "both are cancelled, the silent one by overruling")
        equal(me.settle("Complete", silent["ref"])[0], "LATE_RESULT", "the silent one's answer")


def cancelling_ends_the_program_of_hillock_work(scratch):
    broker = Broker(scratch / "data")
    worker = broker.worker("t.Exec", WHILE_PARENT_LIVES)
    task = broker.ask("submit", "t.Exec")["id"]
    wait_until(lambda: state_of(broker, task) == "started", "a start")
    broker.run("task", "cancel", task)
    wait_until(lambda: state_of(broker, task) == "cancelled", "the cancelled state")
    equal(worker.end(signal.SIGTERM), 0, "exit of the worker")


def dead_letters_have_their_reason_and_can_be_put_back(scratch):
    broker = Broker(scratch / "data")
    worker = broker.worker("t.Dead", "echo the reason >&2; exit 100", "--count", "2")
    tasks = {broker.ask("submit", "t.Dead", "--payload", "p")["id"] for _ in range(2)}
    worker.end()
    rows = broker.ask("dlq", "ls", "t.Dead")
    equal({row["id"] for row in rows}, tasks, "dead letters")
    contains(rows[0]["reason"], "the reason")
    equal(broker.ask("dlq", "show", min(tasks))["payload"], "p", "payload of a dead letter")
    equal({row["id"] for row in broker.ask("dlq", "ls")}, tasks, "dead letters of all queues")
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    equal(broker.ask("queue", "show", "t.Dead")["dead"], 2, "they are durable")
    broker.run("dlq", "redrive", "t.Dead", "--limit", "1")
    show = broker.ask("queue", "show", "t.Dead")
    equal((show["dead"], show["ready"]), (1, 1), "one was put back")
    broker.run("dlq", "redrive", "t.Dead")
    equal(broker.worker("t.Dead", "cat", "--count", "2").end(), 0, "a better worker")
    show = broker.ask("queue", "show", "t.Dead")
    equal((show["dead"], show["ready"], show["done_total"]), (0, 0, 2), "all is done")


def failures_are_tried_again_until_max_attempts(scratch):
    broker = Broker(scratch / "data")
    broker.worker("t.Retry", "exit 75")
    task = broker.ask("submit", "t.Retry", "--max-attempts", "3")["id"]
    wait_until(lambda: state_of(broker, task) == "dead", "the dead state")
    row = broker.ask("task", "show", task)
    equal((row["failed"], row["acquired"], row["code"]), (3, 3, "TRANSIENT"), "attempts")


def a_result_is_there_for_another_process_before_and_after_and_over_a_restart(scratch):
    broker = Broker(scratch / "data")
    task = broker.ask("submit", "t.Await", "--payload", "hello")["id"]
    with Connection(broker.port) as waiter:
        waiter.send("AWAIT", tasks=[task, 999999])
        item, _ = waiter.results(1)[999999]
        equal((item["code"], item["state"]), (CODES["NOT_FOUND"], 0), "a task that never was")
        equal(broker.worker("t.Await", "tr a-z A-Z", "--count", "1").end(), 0, "worker")
        equal(waiter.results(1)[task][1], b"HELLO", "pushed when it is final")
    equal(broker.ask("task", "wait", task)["result"], "HELLO", "asked for later")
    equal(broker.ask("task", "show", task)["result"], "HELLO", "shown")
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    equal(broker.ask("task", "wait", task)["result"], "HELLO", "after kill -9")


def a_full_queue_refuses_by_name_and_takes_again_when_purged(scratch):
    broker = Broker(scratch / "data")
    broker.run("queue", "create", "small", "--length-max", "2")
    broker.run("queue", "create", "small", "--length-max", "2")
    for _ in range(2):
        broker.run("submit", "t.Full", "--queue", "small")
    refusal = broker.run("submit", "t.Full", "--queue", "small", "--timeout", "300ms", status=None)
    equal(refusal.returncode != 0, True, "the third is refused")
    contains(refusal.stderr, "small")
    contains(refusal.stderr, "QUEUE_FULL")
    with Connection(broker.port) as me:
        me.submit(1, 1, [b"x"], type="t.Full", queue="small")
        answer = me.expect("CONFIRMS")
        equal(answer["runs"][0]["code"], CODES["QUEUE_FULL"], "code")
        contains(answer["text"], "small")
        equal(broker.ask("queue", "show", "small")["ready"], 2, "nothing was taken")
        broker.run("queue", "purge", "small", "--yes")
        show = broker.ask("queue", "show", "small")
        equal((show["ready"], show["cancelled_total"]), (0, 2), "purged")
        me.submit(1, 1, [b"x"], type="t.Full", queue="small")
        equal(me.confirms(1)[0]["code"], 0, "the same submission is taken now")
    broker.run("queue", "set", "small", "--length-max", "1")
    broker.end(signal.SIGKILL)
    broker = Broker(scratch / "data")
    equal(broker.ask("queue", "show", "small")["settings"]["length_max"], 1, "settings are durable")
    contains(broker.run("queue", "rm", "small", "--yes", status=5).stderr, "small")
    broker.run("queue", "purge", "small", "--yes")
    broker.run("queue", "rm", "small", "--yes")
    broker.run("queue", "show", "small", status=2)


def lists_without_a_queue_are_of_all_queues(scratch):
    broker = Broker(scratch / "data")
    tasks = [broker.ask("submit", kind)["id"] for kind in ("t.One", "t.Two", "t.One")]
    equal(sorted(row["id"] for row in broker.ask("task", "ls")), tasks, "ready tasks")
    equal([row["id"] for row in broker.ask("task", "ls", "--queue", "t.Two")], [tasks[1]], "of one queue")
    equal(len(broker.ask("task", "ls", "--limit", "2")), 2, "limit")
    equal(broker.ask("task", "ls", "--state", "dead"), [], "dead ones")


def a_producer_that_closes_at_once_has_submitted_what_it_sent(scratch):
    broker = Broker(scratch / "data")
    for number in range(20):
        with Connection(broker.port) as hasty:
            hasty.submit(1000 + number, 1, [b"x"], type="t.Hasty")
    wait_until(lambda: broker.ask("queue", "ls") and broker.ask("queue", "show", "t.Hasty")["ready"] == 20, "all twenty")


main([value for value in list(globals().values()) if callable(value) and value.__module__ == "__main__"
      and value not in (state_of, reconnect)])
