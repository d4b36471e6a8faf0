#!/usr/bin/env python3
"""The programs of clientlib/examples against a real broker: what the manual shows works as shown.

Usage: examples.py BUILD_DIR [TEST...]"""

import signal
import subprocess

from broker import Broker, EXAMPLES, Process, WAIT_S, contains, equal, main, wait_until

PATHS = {path.name: path for path in EXAMPLES.rglob("example_*") if path.is_file() and path.suffix == ""}


def run(name, *args, status=0):
    done = subprocess.run([str(PATHS[f"example_{name}"]), *map(str, args)], capture_output=True, text=True, timeout=WAIT_S,
                          stdin=subprocess.DEVNULL, check=False)
    equal(done.returncode, status, f"exit of {name}: {done.stdout}{done.stderr}")
    return done.stdout if status == 0 else done.stderr


def submit_worker_and_await_pass_a_result_on(scratch):
    broker = Broker(scratch / "data")
    task = int(run("submit", broker.url, "t.Ex", "hello"))
    equal(run("worker", broker.url, "t.Ex", 1), "", "a worker that stops after one task")
    equal(run("await", broker.url, task), "done HELLO\n", "await")
    run("await", broker.url, 4711, status=2)


def a_sensor_leaves_its_last_value_to_those_who_come_later(scratch):
    broker = Broker(scratch / "data")
    equal(run("sensor", broker.url, "kitchen", 3), "", "measuring")
    watcher = Process([PATHS["example_sensor"], broker.url, "-", 2, "watch"])
    wait_until(lambda: watcher.output() == "last kitchen 21.0\n", "the last value")
    run("sensor", broker.url, "bath", 2)
    equal(watcher.end(), 0, "exit")
    equal(watcher.output(), "last kitchen 21.0\nnow bath 20.0\nnow bath 20.5\n", "what it saw")


def the_synchronous_worker_stops_on_a_signal(scratch):
    broker = Broker(scratch / "data")
    worker = Process([PATHS["example_worker"], broker.url, "t.Stop"])
    task = int(run("submit", broker.url, "t.Stop", "x"))
    equal(run("await", broker.url, task), "done X\n", "await")
    equal(worker.end(signal.SIGTERM), 0, "exit")


def the_asynchronous_pair_moves_many(scratch):
    broker = Broker(scratch / "data")
    worker = Process([PATHS["example_worker_async"], broker.url, "t.Many", 2000])
    equal(run("submit_async", broker.url, "t.Many", 2000), "confirmed 2000 refused 0\n", "submit_async")
    equal(worker.end(), 0, "exit")
    equal(worker.output(), "done 2000\n", "worker_async")
    equal(broker.ask("queue", "show", "t.Many")["done_total"], 2000, "done")


def the_generator_streams_its_items_in_order(scratch):
    broker = Broker(scratch / "data")
    Process([PATHS["example_stream"], broker.url, "t.Stream", "serve"])
    equal(run("stream", broker.url, "t.Stream", "5"), "".join(f"{n}: item {n}\n" for n in range(5)) + "done end\n", "stream")


def many_parts_are_put_together_by_one_callback(scratch):
    broker = Broker(scratch / "data")
    Process([PATHS["example_fanout"], broker.url, "t.Fan", "serve"])
    equal(run("fanout", broker.url, "t.Fan", 100), "done 338350\n", "fanout")


def the_mock_needs_no_broker(_):
    run("mock_test")


def without_a_broker_they_say_so(_):
    contains(run("submit", "tcp://127.0.0.1:1", "t.None", "x", status=4), "submit:")


main([submit_worker_and_await_pass_a_result_on, a_sensor_leaves_its_last_value_to_those_who_come_later,
      the_synchronous_worker_stops_on_a_signal, the_asynchronous_pair_moves_many,
      the_generator_streams_its_items_in_order, many_parts_are_put_together_by_one_callback, the_mock_needs_no_broker, without_a_broker_they_say_so])
