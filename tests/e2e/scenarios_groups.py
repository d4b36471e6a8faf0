#!/usr/bin/env python3
"""Tasks that come after others, and groups with a callback, against a real broker that is killed in between.

Usage: scenarios_groups.py BUILD_DIR [TEST...]"""

import subprocess

from broker import Broker, HILLOCK, WAIT_S, contains, equal, main, wait_until
from wire import CODES, Connection


def submit(broker, kind, *args, status=0):
    done = broker.run("submit", kind, *args, "-o", "json", status=status)
    return done["id"] if status == 0 else done.stderr


def lines(broker, kind, texts, *args):
    """hillock submit --lines; its summary."""
    done = subprocess.run([str(HILLOCK), "--server", broker.url, "submit", kind, "-", "--lines", *args, "-o", "json"],
                          input="".join(f"{text}\n" for text in texts), capture_output=True, text=True, timeout=WAIT_S, check=False)
    equal(done.returncode, 0, f"exit: {done.stdout}{done.stderr}")
    return done


def show(broker, task):
    return broker.ask("task", "show", task)


def restarted(broker, scratch):
    broker.kill_group()
    return Broker(scratch / "data")


def a_task_starts_when_those_it_comes_after_are_done_over_kill_9(scratch):
    broker = Broker(scratch / "data")
    first, second = submit(broker, "t.A"), submit(broker, "t.A")
    last = submit(broker, "t.B", "--after", f"{first},{second}")
    shown = show(broker, last)
    equal((shown["state"], shown["waits"], shown["waits_for"]), ("scheduled", 2, first), "what it waits for")
    equal(broker.ask("queue", "show", "t.B")["blocked"], 1, "blocked")
    equal([row["reason"] for row in broker.ask("task", "why", last)][:1], ["after"], "why")
    contains(broker.run("task", "why", last), f"task {first} is one")
    with Connection(broker.port) as worker:
        worker.serve("t.A", 1)
        equal(worker.settle("Complete", worker.task()["ref"])[0], "OK", "the first")
    broker = restarted(broker, scratch)
    equal(show(broker, last)["waits_for"], second, "after the restart")
    with Connection(broker.port) as worker:
        worker.serve("t.A", 1)
        equal(worker.settle("Complete", worker.task()["ref"])[0], "OK", "the second")
        wait_until(lambda: show(broker, last)["state"] == "ready", "the last one to be ready")


def a_bad_end_cancels_a_whole_chain_and_names_the_task(scratch):
    broker = Broker(scratch / "data")
    summary = lines(broker, "t.C", ["one", "two", "three"], "--chain")
    contains(summary.stdout, '"confirmed": 3')
    equal(show(broker, 2)["waits_for"], 1, "the second waits for the first")
    anyway = submit(broker, "t.C", "--after", "1", "--on-failure", "run")
    with Connection(broker.port) as worker:
        worker.serve("t.C", 1)
        worker.settle("Reject", worker.task()["ref"], b"no")
        wait_until(lambda: show(broker, 3)["state"] == "cancelled", "the end of the chain")
        equal(show(broker, 2)["code"], "DEPENDENCY", "code")
        equal(show(broker, 2)["reason"], "it comes after task 1, which is dead", "reason")
        equal(show(broker, 3)["reason"], "it comes after task 2, which is cancelled", "reason")
        worker.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        equal(worker.task()["ref"]["task"], anyway, "the one that runs anyway")


def what_cannot_be_waited_for_is_refused_by_name(scratch):
    broker = Broker(scratch / "data")
    contains(submit(broker, "t.D", "--after", "4711", status=2), "there is no task 4711")
    contains(submit(broker, "t.D", "--after-group", "nobody", status=2), "there is no group nobody")
    submit(broker, "t.D", "--group", "g")
    submit(broker, "t.E", "--after-group", "g")
    contains(submit(broker, "t.E", "--after-group", "g", status=5), "group g has its callback")
    contains(submit(broker, "t.D", "--group", "g", status=5), "group g has all its 1 members")
    equal(broker.run("group", "show", "nobody", status=2).returncode, 2, "an unknown group")


def a_callback_runs_once_when_the_last_member_is_done_over_kill_9(scratch):
    broker = Broker(scratch / "data")
    lines(broker, "t.P", range(20), "--group", "all", "--callback", "t.Q", "--on-failure", "run")
    done = 0
    for part in (7, 7, 6):
        with Connection(broker.port) as worker:
            worker.serve("t.P", 1)
            for _ in range(part):
                equal(worker.settle("Reject" if done == 3 else "Complete", worker.task()["ref"])[0], "OK", "a member")
                worker.send("CREDIT", items=[{"entry": 1, "credit": 1}])
                done += 1
        broker = restarted(broker, scratch)
        group = broker.ask("group", "show", "all")
        equal((group["members"], group["open"], group["done"], group["dead"]), (20, 20 - done, done - 1, 1), "the count")
    with Connection(broker.port) as worker:
        worker.serve("t.Q", 2)
        equal(worker.settle("Complete", worker.task()["ref"])[0], "OK", "the callback")
    broker = restarted(broker, scratch)
    equal(broker.ask("queue", "show", "t.Q")["done_total"], 1, "callbacks")
    equal(broker.ask("queue", "show", "t.Q")["submitted_total"], 1, "callbacks, ever")
    equal(broker.ask("group", "ls")[0]["state"], "over", "state")
    equal(len(broker.ask("group", "show", "all", "--members")), 20, "members")


def a_cancelled_group_ends_as_a_whole_over_kill_9(scratch):
    broker = Broker(scratch / "data")
    lines(broker, "t.X", range(3000), "--group", "stop", "--callback", "t.Y")
    equal(broker.ask("group", "cancel", "stop")["cancelled"], 3000, "members")
    broker = restarted(broker, scratch)
    wait_until(lambda: broker.ask("group", "show", "stop")["open"] == 0, "the end of all members")
    equal(broker.ask("group", "show", "stop")["cancelled"], 3000, "cancelled")
    wait_until(lambda: broker.ask("queue", "show", "t.Y")["cancelled_total"] == 1, "the end of the callback")
    contains(submit(broker, "t.X", "--group", "stop", status=5), "group stop is over")


def submissions_that_come_again_join_once(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as one:
        one.submit(7, 1, [b"a", b"b"], type="t.M", group="g")
        first = one.confirms(2)
    broker = restarted(broker, scratch)
    with Connection(broker.port) as one:
        one.submit(7, 1, [b"a", b"b"], type="t.M", group="g")
        equal([{**run, "duplicate": False} for run in one.confirms(2)], first, "the same again")
        one.submit(7, 3, [b""], type="t.N", after_group="g", group_size=3)
        one.submit(7, 4, [b"c"], type="t.M", group="g")
        one.confirms(2)
        one.submit(7, 5, [b"d"], type="t.M", group="g")
        run = one.expect("CONFIRMS")["runs"][0]
        equal(run["code"], CODES["WRONG_STATE"], "one too many")
    equal(broker.ask("group", "show", "g")["members"], 3, "members")


if __name__ == "__main__":
    main([a_task_starts_when_those_it_comes_after_are_done_over_kill_9, a_bad_end_cancels_a_whole_chain_and_names_the_task,
          what_cannot_be_waited_for_is_refused_by_name, a_callback_runs_once_when_the_last_member_is_done_over_kill_9,
          a_cancelled_group_ends_as_a_whole_over_kill_9, submissions_that_come_again_join_once])
