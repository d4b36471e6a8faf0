#!/usr/bin/env python3
"""The hillock command against a real broker: every command, its exit codes, the JSON that scripts rely on, work --exec, bench.

Usage: cli.py HILLOCK HILLOCKD SOURCE_DIR [NAME...]. One broker on a free port of loopback serves all tests, each in queues of its own."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

HILLOCK, DAEMON, SOURCE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
WAIT_S = 60
OK, USAGE, NOT_FOUND, PARTIAL, UNAVAILABLE, REFUSED = range(6)
children = []
env = dict(os.environ, NO_COLOR="1")


def hillock(*args, input="", want=OK, **more):
    done = subprocess.run([HILLOCK, *map(str, args)], input=input, capture_output=True, text=True, timeout=WAIT_S,
                          env=dict(env, **more))
    if done.returncode != want:
        raise AssertionError(f"hillock {' '.join(map(str, args))}: exit {done.returncode}, want {want}\n{done.stdout}{done.stderr}")
    return done


def data(*args, **more):
    return json.loads(hillock(*args, "-o", "json", **more).stdout)


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def contains(text, *parts):
    for part in parts:
        if part not in text:
            raise AssertionError(f"{part!r} is not in:\n{text}")


def has_keys(thing, keys):
    missing = set(keys.split()) - set(thing)
    if missing:
        raise AssertionError(f"keys {sorted(missing)} are missing in {thing}")


def until(condition, what):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


class Worker:
    """`hillock work` in the background; ended by end()."""

    def __init__(self, *args):
        self.process = subprocess.Popen([HILLOCK, "work", *map(str, args)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, env=env)
        children.append(self.process)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        _, self.text = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode


# ---------------------------------------------------------------- without a broker


def help_teaches_on_every_level():
    text = hillock("--help").stdout
    contains(text, "exit codes: 0 ok, 1 usage, 2 not found, 3 partial, 4 unavailable, 5 refused")
    commands = re.findall(r"(?m)^  ([a-z]+(?: (?!TYPE|DIR)[a-z]+)?)(?: [A-Z\[][A-Z\]. \[\-]*)? {1,}[a-z]", text)
    equal(len(commands) >= 28, True, f"commands in --help: {commands}")
    for command in ("submit", "work", "task ls", "queue set", "dlq redrive", "bench task", "bench disk", "fsck"):
        page = hillock(*command.split(), "--help").stdout
        contains(page, f"usage: hillock {command}", "examples:", "hillock " + command)
    contains(hillock("queue", "--help").stdout, "purge QUEUE", "resume QUEUE")
    contains(hillock("help", "task", "show").stdout, "usage: hillock task show ID")
    contains(hillock("--version").stdout, "hillock 0.1.0")


def committed_manual_and_completion_are_what_the_command_prints():
    equal(hillock("manual").stdout, (SOURCE / "docs/man/hillock.1").read_text(), "docs/man/hillock.1: hillock manual")
    equal(hillock("completion").stdout, (SOURCE / "tools/completion/hillock.bash").read_text(), "hillock completion")


def completion_completes():
    script = f'. "{SOURCE}/tools/completion/hillock.bash"; COMP_WORDS=("${{@}}"); COMP_CWORD=$(($# - 1)); _hillock; ' \
             'printf "%s\\n" "${COMPREPLY[@]}"'

    def complete(*words):
        return subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True,
                              timeout=WAIT_S).stdout.split()
    equal(complete("hillock", "que"), ["queue"])
    equal(complete("hillock", "queue", "p"), ["peek", "purge", "pause"])
    equal(complete("hillock", "-o", "json", "queue", "pu"), ["purge"])
    equal(complete("hillock", "bench", "task", "--pre"), ["--prefetch"])
    equal(complete("hillock", "submit", "x", "--li"), ["--lines"])
    equal(complete("hillock", "stats", "-o", "jsonl"), ["jsonl"])


def mistakes_on_the_command_line_exit_1_and_name_the_option():
    for args, text in (
        ([], "which command?"),
        (["frobnicate"], "frobnicate: no such command"),
        (["queue", "frobnicate"], "queue frobnicate: no such command"),
        (["queue", "show"], "queue show: QUEUE is missing"),
        (["queue", "show", "a", "b"], "b: one argument too many"),
        (["submit", "t", "--delay", "soon"], "--delay soon: expected a duration"),
        (["submit", "t", "--priority", "32"], "--priority 32: at most 31"),
        (["submit", "t", "--payload", "a", "--file", "b"], "choose one"),
        (["submit", "t", "--lines", "--key", "k"], "--lines makes many tasks"),
        (["submit", "t", "--header", "x"], "expected NAME=VALUE"),
        (["submit", "t", "--file", "/nonexistent/x"], "/nonexistent/x: No such file"),
        (["work", "--exec", "true"], "say what to serve"),
        (["work", "t"], "--exec CMD is missing"),
        (["task", "show", "x1"], "expected a task id"),
        (["stats", "-o", "yaml"], "expected table|json|jsonl"),
        (["stats", "--server", "http://x"], "http://x"),
        (["queue", "purge", "nothing", "--bogus"], "--bogus: no such option"),
    ):
        contains(hillock(*args, want=USAGE).stderr, text)


def no_broker_is_exit_4_with_advice():
    contains(hillock("--server", "tcp://127.0.0.1:1", "queue", "ls", "--timeout", "500ms", want=UNAVAILABLE).stderr,
             "no session with tcp://127.0.0.1:1", "is hillockd running there?")


def bench_disk_prints_what_the_disk_does(scratch):
    done = data("bench", "disk", "--dir", scratch, "--count", 20, "--size", "1M") if can_o_direct(scratch) else None
    if done:
        has_keys(done, "append_direct_us append_direct_zeroed_us append_fdatasync_us append_fdatasync_zeroed_us sequential_mb_per_s")
        equal(0 < done["append_direct_us"]["p50"] <= done["append_direct_us"]["max"], True, "quantiles")
        equal(list(pathlib.Path(scratch).glob("hillock-bench*")), [], "nothing is left")
    contains(hillock("bench", "disk", "--dir", scratch / "nowhere", want=REFUSED).stderr, "No such file")


def can_o_direct(scratch):
    try:
        os.close(os.open(scratch / "probe", os.O_CREAT | os.O_RDWR | os.O_DIRECT))
        return True
    except OSError:
        return False


# ---------------------------------------------------------------- submit, task


def submit_prints_id_and_state():
    first = data("submit", "a.v1.One", "--payload", "x")
    second = data("submit", "a.v1.One", "--payload", "y", "--delay", "1h")
    equal((first["state"], second["state"]), ("ready", "scheduled"))
    equal(isinstance(first["id"], int) and second["id"] > first["id"], True, "ids")
    shown = data("task", "show", first["id"])
    has_keys(shown, "id state type queue priority submitted_ms acquired failed size code")
    equal((shown["state"], shown["type"], shown["queue"], shown["size"], shown["priority"]), ("ready", "a.v1.One", "a.v1.One", 1, 4))
    equal(data("task", "show", second["id"])["state"], "scheduled")
    contains(hillock("task", "show", first["id"]).stdout, "state", "ready", "a.v1.One")
    hillock("task", "show", 987654321987, want=NOT_FOUND)
    hillock("queue", "show", "a.no.such", want=NOT_FOUND)


def submit_takes_its_payload_from_text_file_or_stdin(scratch):
    path = scratch / "payload"
    path.write_bytes(b"\xff\x00binary")
    data("submit", "b.v1.T", "--queue", "b.files", "--file", path)
    data("submit", "b.v1.T", "-", "--queue", "b.files", input="from stdin\n")
    data("submit", "b.v1.T", "--queue", "b.files")
    rows = data("queue", "peek", "b.files")
    equal([row["size"] for row in rows], [8, 11, 0])
    equal(rows[0].get("payload_base64"), True)
    equal(rows[0]["payload"], "/wBiaW5hcnk=")
    equal(rows[1]["payload"], "from stdin\n")


def a_key_gives_the_same_task_again():
    first = data("submit", "c.v1.Key", "--key", "k1", "--payload", "x")
    second = data("submit", "c.v1.Key", "--key", "k1", "--payload", "x")
    equal((first["duplicate"], second["duplicate"], second["id"]), (False, True, first["id"]))
    equal(data("queue", "show", "c.v1.Key")["ready"], 1)


def dry_runs_change_nothing():
    contains(hillock("submit", "d.v1.Dry", "--dry-run").stderr, "would submit")
    contains(hillock("submit", "d.v1.Dry", "-", "--lines", "--dry-run", input="a\nb\n").stderr, "would submit 2 tasks")
    hillock("queue", "create", "d.v1.Dry", "--dry-run")
    hillock("queue", "show", "d.v1.Dry", want=NOT_FOUND)


def wait_prints_the_result():
    worker = Worker("e.v1.Upper", "--exec", "tr a-z A-Z", "--count", 2)
    done = data("submit", "e.v1.Upper", "--payload", "hello", "--wait")
    equal((done["state"], done["result"], done["code"]), ("done", "HELLO", "OK"))
    contains(hillock("submit", "e.v1.Upper", "--payload", "table", "--wait").stdout, "TABLE")
    equal(worker.wait(), OK, "a worker that has done its --count")


def results_that_are_no_text_are_base64():
    worker = Worker("e2.v1.Raw", "--exec", r"printf '\377\000\001'", "--count", 1)
    done = data("submit", "e2.v1.Raw", "--wait")
    equal((done["result"], done["result_base64"]), ("/wAB", True))
    equal(worker.wait(), OK)


def wait_has_a_deadline_and_any_process_may_wait_later():
    done = hillock("submit", "f.v1.Slow", "--retention", "1h", "--wait", "--timeout", "300ms", "-o", "json", want=UNAVAILABLE)
    task = json.loads(done.stdout)["id"]
    hillock("task", "wait", task, "--timeout", "200ms", want=UNAVAILABLE)
    worker = Worker("f.v1.Slow", "--exec", "echo late", "--count", 1)
    equal(data("task", "wait", task, "--timeout", "30s")["result"], "late\n")
    equal(worker.wait(), OK)
    equal(data("task", "wait", task)["state"], "done", "once more")
    equal(data("task", "show", task)["state"], "done")
    hillock("task", "wait", 987654321987, want=NOT_FOUND)


def lines_are_one_task_each():
    text = "".join(f"line {i}\n" for i in range(2500)) + "no line end"
    summary = data("submit", "g.v1.Lines", "-", "--lines", input=text)
    equal((summary["tasks"], summary["confirmed"], summary["refused"]), (2501, 2501, 0))
    equal(data("queue", "show", "g.v1.Lines")["ready"], 2501)
    rows = data("queue", "peek", "g.v1.Lines", "-n", 3)
    equal([row["payload"] for row in rows], ["line 0", "line 1", "line 2"])
    worker = Worker("g2.v1.Lines", "--exec", "rev", "--concurrency", 4, "--prefetch", 8)
    done = hillock("submit", "g2.v1.Lines", "-", "--lines", "--wait", "-o", "jsonl", input="abc\ndef\n\nghi\n").stdout
    rows = sorted((json.loads(line) for line in done.splitlines()), key=lambda row: row["line"])
    equal([row["result"].strip() for row in rows], ["cba", "fed", "", "ihg"])
    equal(worker.end(), OK)


def cancel_and_retry_are_partial_where_some_fail():
    tasks = [data("submit", "h.v1.Cancel")["id"] for _ in range(2)]
    done = hillock("task", "cancel", tasks[0], 987654321987, "--reason", "test", "-o", "json", want=PARTIAL)
    equal(json.loads(done.stdout), {"cancelled": 1, "refused": 1})
    equal(data("queue", "show", "h.v1.Cancel")["cancelled_total"], 1)
    hillock("task", "retry", tasks[1], want=REFUSED)
    hillock("task", "cancel", 987654321987, want=NOT_FOUND)


def task_ls_filters_by_queue_and_state():
    for _ in range(3):
        data("submit", "i.v1.Ls")
    data("submit", "i.v1.Ls", "--delay", "1h")
    equal(len(data("task", "ls", "--queue", "i.v1.Ls")), 4)
    equal(len(data("task", "ls", "--queue", "i.v1.Ls", "--state", "scheduled")), 1)
    equal(len(data("task", "ls", "--queue", "i.v1.Ls", "-n", 2)), 2)
    lines = hillock("task", "ls", "-q", "i.v1.Ls", "--all", "-o", "jsonl").stdout.splitlines()
    equal(len({json.loads(line)["id"] for line in lines}), 4)
    equal([len(data("task", "ls", "--state", "scheduled", "-n", 1)), len(data("task", "ls", "-n", 1))], [1, 1], "of all queues")
    equal(hillock("task", "ls", "-q", "i.v1.Ls").stdout.splitlines()[0].split()[:4], ["ID", "STATE", "TYPE", "QUEUE"])


# ---------------------------------------------------------------- queue, dlq, worker, stats


def queues_are_made_changed_and_removed():
    hillock("queue", "create", "j.q", "--max-attempts", 2, "--lease", "5s", "--backoff-min", "10ms", "--backoff-max", "20ms")
    shown = data("queue", "show", "j.q")
    has_keys(shown, "name paused ready leased scheduled dead done_total submitted_total failed_total workers settings")
    equal((shown["settings"]["max_attempts"], shown["settings"]["lease_ms"]), (2, 5000))
    hillock("queue", "create", "j.q", "--max-attempts", 3, want=REFUSED)
    hillock("queue", "set", "j.q", "--max-attempts", 7)
    shown = data("queue", "show", "j.q")["settings"]
    equal((shown["max_attempts"], shown["lease_ms"]), (7, 5000), "what was not given stays")
    contains(hillock("queue", "set", "j.q", "--backoff-min", "2s", "--backoff-max", "1s", want=USAGE).stderr, "above")
    hillock("queue", "set", "j.none", "--max-attempts", 7, want=NOT_FOUND)
    equal("j.q" in [row["name"] for row in data("queue", "ls")], True)
    contains(hillock("queue", "ls").stdout, "NAME", "READY", "j.q")
    contains(hillock("queue", "rm", "j.q", want=USAGE).stderr, "say --yes")
    data("submit", "t", "--queue", "j.q")
    hillock("queue", "rm", "j.q", "--yes", want=REFUSED)
    contains(hillock("queue", "purge", "j.q", want=USAGE).stderr, "dropping 1 waiting tasks of queue j.q", "say --yes")
    contains(hillock("queue", "purge", "j.q", "--dry-run").stderr, "would drop 1")
    equal(data("queue", "purge", "j.q", "--yes"), {"purged": 1})
    hillock("queue", "rm", "j.q", "--yes")
    hillock("queue", "show", "j.q", want=NOT_FOUND)


def a_full_queue_refuses_with_exit_5():
    hillock("queue", "create", "k.q", "--length-max", 1)
    data("submit", "t", "--queue", "k.q")
    contains(hillock("submit", "t", "--queue", "k.q", want=REFUSED).stderr, "QUEUE_FULL")


def a_paused_queue_hands_nothing_out():
    data("submit", "l.v1.Pause")
    hillock("queue", "pause", "l.v1.Pause")
    equal(data("queue", "show", "l.v1.Pause")["paused"], True)
    worker = Worker("l.v1.Pause", "--exec", "true", "--count", 1)
    until(lambda: data("queue", "show", "l.v1.Pause")["workers"] == 1, "the worker is there")
    equal(data("queue", "show", "l.v1.Pause")["ready"], 1)
    hillock("queue", "resume", "l.v1.Pause")
    equal(worker.wait(), OK)
    equal(data("queue", "show", "l.v1.Pause")["done_total"], 1)


def exit_statuses_are_outcomes():
    hillock("queue", "create", "m.q", "--max-attempts", 2, "--backoff-min", "1ms", "--backoff-max", "2ms")
    worker = Worker("--queue", "m.q", "--exec", 'read -r code; echo "went wrong" >&2; exit $code', "--concurrency", 2)
    for code, state, name in ((65, "failed", "INVALID_INPUT"), (69, "dead", "DEPENDENCY"), (77, "dead", "SECURITY"),
                              (100, "dead", "PERMANENT"), (75, "dead", "TRANSIENT"), (1, "dead", "TRANSIENT"),
                              (70, "dead", "INTERNAL")):
        done = json.loads(hillock("submit", "t", "--queue", "m.q", "--payload", f"{code}\n", "--wait", "-o", "json",
                                  want=PARTIAL).stdout)
        equal((done["state"], done["code"]), (state, name), f"exit status {code}")
        contains(done["error"], "went wrong")
    equal(worker.end(), OK)
    dead = data("dlq", "ls", "m.q")
    equal((len(dead), len([row for row in data("dlq", "ls") if row["queue"] == "m.q"])), (6, 6))
    contains(hillock("dlq", "ls").stdout, "REASON", "went wrong")
    hillock("dlq", "show", 987654321987, want=NOT_FOUND)
    shown = data("dlq", "show", dead[0]["id"])
    equal((shown["state"], shown["payload"], shown["reason"].strip()), ("dead", "69\n", "went wrong"))
    equal(data("queue", "show", "m.q")["dead"], 6)
    contains(hillock("dlq", "redrive", "m.q", "--dry-run").stderr, "would put back 6")
    equal(data("dlq", "redrive", "m.q", "--limit", 2), {"redriven": 2})
    hillock("task", "retry", data("dlq", "ls", "m.q")[0]["id"])
    equal([data("queue", "show", "m.q")[key] for key in ("ready", "dead")], [3, 3])
    contains(hillock("dlq", "purge", "m.q", want=USAGE).stderr, "say --yes")
    equal(data("dlq", "purge", "m.q", "--yes"), {"purged": 3})


def the_program_sees_what_it_works_on():
    worker = Worker("n.v1.Env", "--exec", 'echo "$HILLOCK_TASK_ID $HILLOCK_TASK_TYPE $HILLOCK_QUEUE $HILLOCK_ATTEMPT"', "--count", 1)
    done = data("submit", "n.v1.Env", "--wait")
    equal(done["result"].split(), [str(done["id"]), "n.v1.Env", "n.v1.Env", "1"])
    equal(worker.wait(), OK)


def large_payloads_and_results_pass_through():
    worker = Worker("o.v1.Cat", "--exec", "cat", "--count", 1)
    text = "0123456789abcdef" * 65535
    done = json.loads(hillock("submit", "o.v1.Cat", "-", "--wait", "-o", "json", input=text).stdout)
    equal(done["result"] == text, True, "a megabyte comes back")
    equal(worker.wait(), OK)
    worker = Worker("o2.v1.Big", "--exec", "head -c 2000000 /dev/zero", "--count", 1)
    done = json.loads(hillock("submit", "o2.v1.Big", "--wait", "-o", "json").stdout)
    equal((done["state"], done["result"]["size"]), ("done", 2000000))
    equal(worker.wait(), OK)


def a_child_over_its_limit_is_stopped():
    worker = Worker("p.v1.Limit", "--exec", "sleep 1000", "--limit", "200ms", "--count", 1)
    done = json.loads(hillock("submit", "p.v1.Limit", "--max-attempts", 1, "--wait", "-o", "json", want=PARTIAL).stdout)
    equal((done["state"], done["code"]), ("dead", "TIMEOUT"))
    equal(worker.wait(), OK)


def cancelling_stops_the_child(scratch):
    worker = Worker("q.v1.Cancel", "--exec", f"touch {scratch}/runs; exec sleep 1000")
    task = data("submit", "q.v1.Cancel")["id"]
    until((scratch / "runs").exists, "the child runs")
    equal(data("task", "cancel", task), {"cancelled": 1, "refused": 0})
    until(lambda: data("queue", "show", "q.v1.Cancel")["cancelled_total"] == 1, "cancelled")
    equal(worker.end(), OK)


def the_first_signal_finishes_the_second_gives_back(scratch):
    worker = Worker("r.v1.Stop", "--exec", f"touch {scratch}/one; while [ ! -e {scratch}/go ]; do sleep 0.05; done; echo ok")
    first = data("submit", "r.v1.Stop", "--retention", "1h")["id"]
    until((scratch / "one").exists, "the child runs")
    worker.process.send_signal(signal.SIGTERM)
    second = data("submit", "r.v1.Stop")["id"]
    (scratch / "go").touch()
    equal(worker.wait(), OK)
    equal(data("task", "wait", first, "--timeout", "10s")["state"], "done")
    equal(data("task", "show", second)["state"], "ready")
    worker = Worker("r.v1.Stop", "--exec", f"touch {scratch}/two; sleep 1000")
    until((scratch / "two").exists, "the child runs")
    worker.process.send_signal(signal.SIGTERM)
    while "once more to give them back" not in worker.process.stderr.readline():
        equal(worker.process.poll(), None, "it waits for its child")
    worker.process.send_signal(signal.SIGTERM)
    equal(worker.wait(), OK)
    shown = data("task", "show", second)
    equal((shown["state"], shown["failed"]), ("ready", 0), "given back, and no attempt against it")


def workers_and_statistics_are_listed():
    worker = Worker("s.v1.Ls", "--exec", "true", "--concurrency", 3)
    until(lambda: [row for row in data("worker", "ls") if "s.v1.Ls" in row["entries"]], "the worker is listed")
    row = [row for row in data("worker", "ls") if "s.v1.Ls" in row["entries"]][0]
    has_keys(row, "name address entries credit leased connected_ms")
    equal(row["credit"], 3)
    contains(hillock("worker", "ls").stdout, "SERVES", "s.v1.Ls")
    equal(worker.end(), OK)
    equal(data("stats")["process_cpu_seconds_total"] > 0, True)
    equal(list(data("stats", "process_cpu")), ["process_cpu_seconds_total"])
    hillock("checkpoint")


# ---------------------------------------------------------------- bench, fsck


def bench_task_measures_and_checks():
    done = data("bench", "task", "--producers", 2, "--workers", 2, "--size", 128, "--count", 5000, "--window", 500, "--prefetch", 300)
    has_keys(done, "tasks seconds tasks_per_s confirm_us e2e_us broker_cpu_s_per_million durable")
    for key in ("confirm_us", "e2e_us"):
        has_keys(done[key], "p50 p99 p999 max")
        equal(0 < done[key]["p50"] <= done[key]["p99"] <= done[key]["p999"] <= done[key]["max"] * 1.01, True, key)
    equal((done["tasks"], done["durable"], done["missing"], done["duplicates"], done["corrupt"]), (5000, "synced", 0, 0, 0))
    equal(done["broker_cpu_s_per_million"] > 0, True)
    equal([row["name"] for row in data("queue", "ls") if row["name"].startswith("bench-")], [], "its queue is removed")
    done = data("bench", "task", "--shared", "--count", 200, "--window", 1, "--size", "1k")
    equal((done["tasks"], done["window"]), (200, 1))
    contains(hillock("bench", "task", "--count", 100, "--rate", 1000).stdout, "tasks/s", "confirm p50", "synced", "good")
    hillock("bench", "task", "--size", 8, want=USAGE)


def work_with_parameters_gets_the_tasks_that_require_them():
    small = Worker("r.v1.Train", "--exec", "echo small", "--param", "vram_gb=8")
    large = Worker("r.v1.Train", "--exec", "echo large", "--param", "gpu=A100", "--param", "vram_gb=80")
    ask = ("submit", "r.v1.Train", "--payload", "x", "--wait")
    equal(data(*ask, "--require", 'gpu == "A100" && vram_gb >= 40')["result"].strip(), "large")
    equal(data(*ask, "--require", "vram_gb < 40")["result"].strip(), "small")
    why = data("task", "why", data("submit", "r.v1.Train", "--require", "vram_gb > 100")["id"])
    contains(str(why), "vram_gb > 100")
    equal((small.end(), large.end()), (OK, OK))
    contains(hillock("work", "r.v1.Train", "--exec", "true", "--param", "gpu=[", want=USAGE).stderr, "params")


def bench_call_answers_every_call():
    done = data("bench", "call", "--count", 3000, "--window", 100, "--size", 200)
    has_keys(done, "calls calls_per_s latency_us broker_cpu_s_per_million")
    equal((done["calls"], done["window"], done["size"]), (3000, 100, 200))


def bench_submit_and_drain_build_and_empty_a_backlog():
    done = data("bench", "submit", "--queue", "u.backlog", "--count", 3000)
    has_keys(done, "tasks seconds tasks_per_s confirm_us durable")
    equal(data("queue", "show", "u.backlog")["ready"], 3000)
    done = data("bench", "drain", "--queue", "u.backlog", "--count", 1000, "--prefetch", 10)
    equal((done["tasks"], done["order"]), (1000, "kept"))
    left = data("queue", "show", "u.backlog")
    equal([left[key] for key in ("ready", "leased", "scheduled")], [2000, 0, 0], "what it was sent beyond 1000 is back at once")
    done = data("bench", "drain", "--queue", "u.backlog")
    equal(done["order"], "kept")
    equal([data("queue", "show", "u.backlog")[key] for key in ("ready", "leased", "done_total")], [0, 0, 3000])
    hillock("bench", "drain", "--queue", "u.backlog", want=NOT_FOUND)


def fsck_runs_the_daemons_check(scratch):
    hillock("fsck", scratch / "nothing", want=2)
    hillock("fsck", want=USAGE)


def start_broker(scratch):
    log = open(scratch / "hillockd.log", "w+")
    broker = subprocess.Popen([DAEMON, "--data", str(scratch / "data"), "--listen", "tcp://127.0.0.1:0"], stderr=log,
                              stdin=subprocess.DEVNULL)
    children.append(broker)

    def ready():
        equal(broker.poll(), None, "the broker ended: " + (scratch / "hillockd.log").read_text())
        return re.search(r"ready: listening on (tcp://\S+)", (scratch / "hillockd.log").read_text())
    env["HILLOCK_URL"] = until(ready, "the broker is ready").group(1)
    return broker


TESTS = [value for name, value in list(globals().items()) if callable(value) and getattr(value, "__module__", "") == "__main__" and
         name not in ("hillock", "data", "equal", "contains", "has_keys", "until", "Worker", "can_o_direct", "start_broker")]


def main():
    failed, names = 0, sys.argv[4:]
    with tempfile.TemporaryDirectory(prefix="hillock-cli-") as base:
        base = pathlib.Path(base)
        broker = start_broker(base)
        for test in TESTS:
            if names and test.__name__ not in names:
                continue
            scratch = base / test.__name__
            scratch.mkdir()
            begin = time.monotonic()
            try:
                test(scratch) if test.__code__.co_argcount else test()
                print(f"ok     {test.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
            except Exception as problem:  # every test is run
                failed += 1
                print(f"FAILED {test.__name__}: {problem}", flush=True)
        if broker.poll() is not None:
            failed += 1
            print("FAILED the broker did not survive:\n" + (base / "hillockd.log").read_text())
        for child in children[1:]:
            if child.poll() is None:
                child.kill()
                child.wait()
        broker.terminate()
        if broker.wait(WAIT_S) != 0:
            failed += 1
            print(f"FAILED the broker ended with {broker.returncode}\n" + (base / "hillockd.log").read_text())
        elif not names:
            print(hillock("fsck", base / "data").stdout.strip())
    sys.exit(1 if failed else 0)


main()
