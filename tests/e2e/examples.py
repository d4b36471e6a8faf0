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


def a_file_goes_in_and_a_file_comes_out(scratch):
    broker = Broker(scratch / "data")
    worker = Process([PATHS["example_file_worker"], broker.url, "t.File", 2])
    for size in (5, 3 << 20):
        (scratch / "in").write_bytes(b"hello" * (size // 5))
        equal(run("file_worker", broker.url, "t.File", "submit", scratch / "in", scratch / "out"), f"done {size // 5 * 5}\n", "submit")
        equal((scratch / "out").read_bytes() == b"HELLO" * (size // 5), True, "the file that came out")
    equal(worker.end(), 0, "a worker that stops after two tasks")


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


def a_gpu_worker_gets_what_it_has_the_hardware_for(scratch):
    broker = Broker(scratch / "data")
    program = PATHS["example_gpu_worker"]
    small = Process([program, broker.url, "serve", "small", "T4", 16])
    big = Process([program, broker.url, "render", "gpu == \"A100\" && vram_gb >= 40", "scene 1"])
    equal(run("gpu_worker", broker.url, "render", "vram_gb >= 8", "scene 2"), "done scene 2 by small\n", "the small one")
    Process([program, broker.url, "serve", "large", "A100", 80])
    equal(big.end(), 0, "exit")
    equal(big.output(), "done scene 1 by large\n", "what had waited")
    equal(small.end(signal.SIGTERM), 0, "exit")


def add_one_is_found_through_the_directory_and_called(scratch):
    broker = Broker(scratch / "data")
    contains(run("add_one", broker.url, "ask", 41, status=5), "no holder of this service")
    few, first = (Process([PATHS["example_add_one"], broker.url, "serve", bits]) for bits in (16, 64))
    wait_until(lambda: len(broker.ask("directory", "ls")) == 2, "two of them")
    address = next(row["address"] for row in broker.ask("directory", "ls") if row["params"] == "bits=64")
    equal(run("add_one", broker.url, "ask", 41), f"42 from {address}\n", "the one that can")
    equal(first.end(signal.SIGTERM), 0, "exit")
    equal(few.end(signal.SIGTERM), 0, "exit")


def a_reservation_heals_when_a_holder_is_killed(scratch):
    broker = Broker(scratch / "data")
    program = PATHS["example_add_one"]
    mine = Process([PATHS["example_reservation"], broker.url, "math.v1.AddOne", 2])
    wait_until(lambda: mine.output() == "waiting 0\n", "nobody is there")
    first = Process([program, broker.url, "serve", 64])
    wait_until(lambda: mine.output().endswith("degraded 1\n"), "one of two")
    Process([program, broker.url, "serve", 64])
    wait_until(lambda: mine.output().endswith("active 2\nOK 42\n"), "both, and an answer")
    first.kill_group()
    wait_until(lambda: mine.output().endswith("degraded 1\n"), "one is lost")
    Process([program, broker.url, "serve", 64])
    equal(mine.end(), 0, "exit")
    equal(mine.output(), "waiting 0\ndegraded 1\nactive 2\nOK 42\ndegraded 1\nactive 2\nOK 42\n", "what it was told")


def the_mock_needs_no_broker(_):
    run("mock_test")


def without_a_broker_they_say_so(_):
    contains(run("submit", "tcp://127.0.0.1:1", "t.None", "x", status=4), "submit:")


main([submit_worker_and_await_pass_a_result_on, a_file_goes_in_and_a_file_comes_out, a_sensor_leaves_its_last_value_to_those_who_come_later,
      the_synchronous_worker_stops_on_a_signal, the_asynchronous_pair_moves_many,
      the_generator_streams_its_items_in_order, many_parts_are_put_together_by_one_callback,
      a_gpu_worker_gets_what_it_has_the_hardware_for, add_one_is_found_through_the_directory_and_called,
      a_reservation_heals_when_a_holder_is_killed, the_mock_needs_no_broker, without_a_broker_they_say_so])
