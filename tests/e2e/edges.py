#!/usr/bin/env python3
"""What people do by accident, or to see what happens: addresses that cannot be, names with line ends, closed standard streams,
pipes that nobody reads, queues behind longer ones.

Usage: edges.py BUILD_DIR [TEST...]"""

import json
import os
import pathlib
import re
import subprocess

from broker import Broker, HILLOCK, HILLOCKD, WAIT_S, contains, equal, main, offline, wait_until


def lines(broker, queue, count):
    subprocess.run([str(HILLOCK), "--server", broker.url, "submit", queue, "-", "--lines"], check=True, timeout=WAIT_S,
                   input="x\n" * count, text=True, stdout=subprocess.DEVNULL)


# ---------------------------------------------------------------- hillockd


def an_address_that_cannot_be_is_refused_with_file_and_line(scratch):
    path = scratch / "c.conf"
    for url in ("tcp://127.0.0.1", "tcp://127.0.0.1:", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:4k", "unix://", "unix://" + "x" * 200,
                "udp://127.0.0.1:1"):
        path.write_text(f'# one\nlisten = {{"{url}"}}\n')
        done = offline("--config", path, "--check-config")
        equal(done.returncode, 1, url)
        contains(done.stderr, f"{path}:2: listen: ")
        equal(offline("--listen", url, "--check-config").returncode, 1, url)
    for url in ("tcp://127.0.0.1:0", "tcp://[::1]:65535", "tcp://*:1", "tcp://:1", "unix:///run/h"):
        path.write_text(f'listen = "{url}"\n')
        equal(offline("--config", path, "--check-config").returncode, 0, url)


def an_address_in_use_is_refused_in_words(scratch):
    broker = Broker(scratch / "data")
    done = offline("--data", scratch / "other", "--listen", broker.url)
    equal(done.returncode, 1, "exit")
    contains(done.stderr, "Address already in use")


def a_comment_that_never_ends_is_a_mistake(scratch):
    path = scratch / "c.conf"
    path.write_text("heartbeat = 5s\n/* from here on\nheartbeat = 6s\n")
    done = offline("--config", path, "--check-config")
    equal(done.returncode, 1, "exit")
    contains(done.stderr, f"{path}:2: ")


def a_bad_file_does_not_write_control_characters(scratch):
    path = scratch / "c.conf"
    path.write_bytes(b"ab\x1b[31mcd\x07 = 1\n")
    done = offline("--config", path, "--check-config")
    equal(done.returncode, 1, "exit")
    equal(re.search("[\x00-\x09\x0b-\x1f\x7f]", done.stderr), None, "control characters")


def a_node_name_is_one_line(scratch):
    for name in (" ", " blank first", "a\nb", "\x1b[31m", "tab\there"):
        done = offline("--data", scratch / "data", "--node", name, "--check-config")
        equal(done.returncode, 1, repr(name))
        contains(done.stderr, "node: ")
    equal(offline("--node", "lab 1, rack-4", "--check-config").returncode, 0, "a good one")


def a_directory_without_a_store_is_called_that(scratch):
    for command in ("fsck", "dump"):
        done = offline(command, scratch)
        equal(done.returncode, 2, command)
        contains(done.stdout, "there is no store")


def closed_standard_streams_do_no_harm(scratch):
    port = scratch / "port"
    shell = subprocess.Popen(["sh", "-c", f'exec "{HILLOCKD}" --data "{scratch}/data" --listen "unix://{scratch}/s" <&- >&- 2>&-'])
    try:
        wait_until((scratch / "s").exists, "the socket")
        target = pathlib.Path(f"/proc/{shell.pid}/fd")
        for number in "012":
            equal(os.readlink(target / number), "/dev/null", f"descriptor {number}")
        url = f"unix://{scratch}/s"
        subprocess.run([str(HILLOCK), "--server", url, "submit", "t.X"], check=True, timeout=WAIT_S, stdout=subprocess.DEVNULL)
    finally:
        shell.terminate()
        equal(shell.wait(WAIT_S), 0, "exit of the broker")
    equal(port.exists(), False, "nothing else")
    equal(offline("fsck", scratch / "data").returncode, 0, "fsck")


# ---------------------------------------------------------------- hillock


def a_queue_is_peeked_behind_a_longer_one_and_page_by_page(scratch):
    broker = Broker(scratch / "data")
    lines(broker, "t.Long", 70000)
    lines(broker, "t.Short", 3)
    equal(len(broker.ask("queue", "peek", "t.Short", "--limit", "2")), 2, "behind a long one")
    rows = broker.ask("queue", "peek", "t.Long", "--limit", "2500")
    equal([row["id"] for row in rows], list(range(1, 2501)), "more than a page")


def a_list_ends_when_nobody_reads_it(scratch):
    broker = Broker(scratch / "data")
    lines(broker, "t.Many", 20000)
    for form in ("jsonl", "table"):
        before = broker.ask("stats", "requests_total")["requests_total"]
        done = subprocess.run(["bash", "-c", f'"{HILLOCK}" --server {broker.url} task ls --limit 20000 -o {form} | head -n 1; '
                               'echo "${PIPESTATUS[0]}" >&2'], capture_output=True, text=True, timeout=WAIT_S, check=True)
        asked = broker.ask("stats", "requests_total")["requests_total"] - before
        equal(done.stderr, "3\n", f"{form}: the exit status and not a word")
        if form == "jsonl":
            equal(asked < 100, True, f"{asked} requests for one line")


def lines_are_given_up_when_the_broker_stays_away(scratch):
    broker = Broker(scratch / "data")
    submitter = subprocess.Popen([str(HILLOCK), "--server", broker.url, "submit", "t.X", "-", "--lines", "--timeout", "500ms", "-o", "json"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        submitter.stdin.write("x\n" * 5000)
        submitter.stdin.flush()
        wait_until(lambda: broker.ask("queue", "ls") and broker.ask("queue", "show", "t.X")["ready"], "the first lines")
        broker.process.kill()
        out, err = submitter.communicate("y\n" * 10, timeout=WAIT_S)
    finally:
        submitter.kill()
    equal(submitter.returncode, 4, "exit")
    contains(err, "no broker for 500 ms")
    summary = json.loads(out)
    equal(summary["confirmed"] + summary["refused"], summary["tasks"], "every line is accounted for")


def a_worker_is_listed_with_the_time_it_came(scratch):
    broker = Broker(scratch / "data")
    worker = broker.worker("t.Idle", "cat")
    worker.wait_for("connected")
    wait_until(lambda: broker.ask("worker", "ls"), "the worker")
    equal(bool(re.search(r"t\.Idle +1 +0 +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", broker.run("worker", "ls"))), True, "a date")


def a_result_over_the_brokers_limit_is_a_dead_letter(scratch):
    broker = Broker(scratch / "data", payload_max="1KiB")
    task = broker.ask("submit", "t.Big")["id"]
    worker = broker.worker("t.Big", "head -c 2000 /dev/zero", "--count", "1")
    wait_until(lambda: broker.ask("task", "show", task)["state"] == "dead", "the end of the task")
    contains(broker.ask("task", "show", task)["reason"], "over")
    equal(worker.end(), 0, "exit of the worker")


main([value for value in list(globals().values()) if callable(value) and value.__module__ == "__main__" and value not in (lines,)])
