#!/usr/bin/env python3
"""What can be set for a queue: shares of those who submit, who may be given a task again, and what keeps a lease.

Usage: scenarios_queues.py BUILD_DIR [TEST...]"""

from broker import Broker, contains, equal, main, offline, wait_until
from wire import Connection

NEVER, SAFE = 1, 2


def state_of(broker, task):
    return broker.ask("task", "show", task)["state"]


def who_has_few_tasks_does_not_wait_for_who_has_many(scratch):
    broker = Broker(scratch / "data")
    shown = broker.ask("queue", "create", "t.Fair", "--fair", "principal", "--weight", "vip.*=4")
    equal((shown["settings"]["fair"], shown["weights"]), ("principal", ["vip.*=4"]), "what is shown")
    with Connection(broker.port, client="many") as many, Connection(broker.port, client="few") as few:
        for frame in range(20):
            many.submit(1, 1 + 500 * frame, [b"m"] * 500, type="t.Fair")
        many.confirms(10000)
        few.submit(2, 1, [b"f"] * 10, type="t.Fair")
        few.confirms(10)
        reasons = {row["reason"]: row for row in broker.ask("task", "why", 2)}
        equal("share" in reasons or "no_entry" in reasons, True, "why it waits")
        worker = Connection(broker.port, client="worker")
        worker.serve("t.Fair", 1)
        got = []
        while got.count(b"f") < 10:
            task = worker.task()
            got.append(task["payload"])
            worker.send("CREDIT", items=[{"entry": 1, "credit": 1}])
        equal(len(got) <= 21, True, f"turns until the ten were out: {len(got)}")
        why = broker.ask("task", "why", 9999)
        equal([row["reason"] for row in why][-1] in ("in_line", "no_credit"), True, "the others are next")
    broker.kill_group()
    broker = Broker(scratch / "data")
    equal(broker.ask("queue", "show", "t.Fair")["weights"], ["vip.*=4"], "weights after a restart")
    broker.ask("queue", "set", "t.Fair", "--weight", "vip.*=0", "--weight", "few=9")
    equal(broker.ask("queue", "show", "t.Fair")["weights"], ["few=9"], "weights that were changed")
    contains(broker.run("queue", "set", "t.Fair", "--weight", "few", status=None).stderr, "PATTERN=N")


def a_task_says_that_it_waits_for_its_share(scratch):
    broker = Broker(scratch / "data")
    broker.ask("queue", "create", "t.Fair", "--fair", "principal")
    with Connection(broker.port, client="many") as many, Connection(broker.port, client="few") as few:
        many.submit(1, 1, [b"m"] * 100, type="t.Fair")
        many.confirms(100)
        worker = Connection(broker.port, client="worker")
        worker.serve("t.Fair", 5)
        for _ in range(5):
            worker.task()
        few.submit(2, 1, [b"f"], type="t.Fair")
        few.confirms(1)
        rows = {row["reason"]: row for row in broker.ask("task", "why", 50)}
        equal((rows["share"]["text"], rows["share"]["value"]), ("many", "1"), "whose turn it is not")
        rows = [row["reason"] for row in broker.ask("task", "why", 101)]
        equal("share" in rows, False, "and the one whose turn it is does not say so")


def a_queue_says_whether_its_tasks_may_be_handed_out_again(scratch):
    broker = Broker(scratch / "data")
    equal(broker.ask("queue", "create", "t.Once", "--redelivery", "never")["settings"]["redelivery"], "never", "the setting")
    worker, caller = Connection(broker.port), Connection(broker.port)
    worker.serve("t.Once", 3)
    caller.submit(1, 1, [b"as the queue says"], type="t.Once")
    caller.submit(1, 2, [b"safe"], type="t.Once", redelivery=SAFE)
    caller.confirms(2)
    refs = {}
    for _ in range(2):
        message = worker.expect("DELIVER")
        refs[message["items"][0]["task"]] = bool(message.get("once"))
    equal(refs, {1: True, 2: False}, "what the worker is told")
    worker.close()
    wait_until(lambda: state_of(broker, 1) == "lost", "the one that is handed out once is lost")
    caller.serve("t.Once", 5)
    again = caller.task()
    equal((again["ref"]["task"], again["ref"]["attempt"]), (2, 2), "the other one is handed out again")


def a_worker_that_is_silent_on_a_task_loses_it_where_the_queue_says_so(scratch):
    broker = Broker(scratch / "data", heartbeat="1h", session_grace="1h")
    shown = broker.ask("queue", "create", "t.Talk", "--renew", "task", "--lease", "700ms", "--max-attempts", "9")
    equal((shown["settings"]["renew"], shown["settings"]["lease_ms"]), ("task", 700), "the settings")
    silent, other = Connection(broker.port), Connection(broker.port)
    silent.serve("t.Talk", 2)
    silent.submit(1, 1, [b"begun", b"not begun"], type="t.Talk")
    silent.confirms(2)
    refs = {task["ref"]["task"]: task["ref"] for task in (silent.task(), silent.task())}
    silent.report("Start", refs[1])
    lost = {}
    while len(lost) < 2:  # its connection lives all the time: it answers PINGs, and hears of this
        for item in silent.expect("SIGNALS")["items"]:
            if item["signal"] == 2:
                lost[item["ref"]["task"]] = item["ref"]["attempt"]
    equal(lost, {1: 1, 2: 1}, "the leases it has lost")
    rows = [broker.ask("task", "show", task) for task in (1, 2)]
    equal([row["failed"] for row in rows], [1, 0], "only the attempt that was begun counts")
    equal(silent.settle("Complete", refs[2])[0], "STALE_LEASE", "a result that comes later")
    other.serve("t.Talk", 2)
    held = {task["ref"]["task"]: task["ref"] for task in (other.task(), other.task())}
    equal(sorted(held), [1, 2], "both are with somebody else")


def a_started_task_must_be_heard_of_as_often_as_its_queue_says(scratch):
    broker = Broker(scratch / "data", heartbeat="1h")
    broker.ask("queue", "create", "t.Beat", "--heartbeat", "300ms", "--max-attempts", "1")
    with Connection(broker.port) as worker:
        worker.serve("t.Beat", 2)
        worker.submit(1, 1, [b"queue", b"own"], type="t.Beat")
        worker.confirms(2)
        for _ in range(2):
            worker.report("Start", worker.task()["ref"])
        wait_until(lambda: state_of(broker, 1) == "dead", "the silent one has failed")
    equal(broker.ask("task", "show", 1)["code"], "TIMEOUT", "why")


def the_secret_of_a_store_is_in_its_log_and_no_dump_shows_it(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as caller:
        caller.submit(1, 1, [b"x"], type="t.T", order_key="k")
        caller.confirms(1)
    broker.kill_group()
    dump = offline("dump", scratch / "data").stdout
    lines = [line for line in dump.splitlines() if "kind=secret" in line]
    equal(len(lines), 1, "records of a secret")
    equal(lines[0].split("kind=")[1], "secret bytes=24", "what is shown of it")
    equal(offline("fsck", scratch / "data").returncode, 0, "fsck")


main([who_has_few_tasks_does_not_wait_for_who_has_many, a_task_says_that_it_waits_for_its_share,
      a_queue_says_whether_its_tasks_may_be_handed_out_again,
      a_worker_that_is_silent_on_a_task_loses_it_where_the_queue_says_so,
      a_started_task_must_be_heard_of_as_often_as_its_queue_says,
      the_secret_of_a_store_is_in_its_log_and_no_dump_shows_it])
