#!/usr/bin/env python3
"""Every command of hillock against a closed broker, with a token: none is forgotten, none goes round the permissions. Named servers. The doctor.

Usage: scenarios_commands.py BUILD_DIR [TEST...]"""

import hashlib
import json
import os
import re
import subprocess

from broker import Broker, HILLOCK, SCHEME, WAIT_S, contains, equal, main

# What needs no token, and why. Everything else that `hillock help` lists is run below, without one and with one.
NEEDS_NONE = {
    "bench disk": "measures this machine's disk, and dials nobody",
    "bench schema": "measures this program, and dials nobody",
    "fsck": "runs hillockd fsck on a directory",
    "backup": "copies the directory of a stopped broker", "restore": "makes one out of a backup",
    "context ls": "reads a file of the user's", "context show": "the same", "context use": "the same", "context add": "the same",
    "context rm": "the same",
}
# Arguments of a run that is permitted; {0} is replaced. Each ends by itself. A set of exits: all of them mean that the broker was asked and let it.
RUNS = {
    "submit": (["w.v1.A", "--payload", "x"], {0}),
    "work": (["w.v1.A", "--exec", "cat", "--count", "1"], {0}),
    "task ls": ([], {0}), "task show": (["{task}"], {0}), "task wait": (["{done}"], {0}), "task cancel": (["{task}"], {0, 3}),
    "task retry": (["{task}"], {0, 3, 5}), "task why": (["{task}"], {0}), "task watch": (["{done}"], {0, 2, 3}),
    "task interrupt": (["{task}"], {0, 3, 5}), "task pause": (["{task}"], {0, 3, 5}), "task resume": (["{task}"], {0, 3, 5}),
    "task step": (["{task}"], {0, 3, 5}), "task tree": (["{task}"], {0}),
    "queue ls": ([], {0}), "queue show": (["w.v1.A"], {0}), "queue create": (["made"], {0}), "queue set": (["made", "--length-max", "7"], {0}),
    "queue peek": (["w.v1.A"], {0}), "queue purge": (["made", "--yes"], {0}), "queue pause": (["made"], {0}), "queue resume": (["made"], {0}),
    "queue bind": (["made", "w.v1.B"], {0}), "queue unbind": (["made", "w.v1.B"], {0}), "queue rm": (["made", "--yes"], {0}),
    "dlq ls": (["w.v1.A"], {0}), "dlq show": (["{task}"], {0, 2}), "dlq redrive": (["w.v1.A"], {0, 2}), "dlq purge": (["w.v1.A", "--yes"], {0}),
    "dlq jobs": ([], {0}), "dlq stop": (["99"], {2}),
    "call": (["nobody.v1.Here", "--payload", "x", "--deadline", "1s"], {5, 2, 4}), "serve": (["s.v1.X", "--exec", "cat"], None),
    "bind": (["nobody.v1.Here"], None), "bridge": (["--from", "{url}", "--to", "{url}"], {5}),
    "directory ls": ([], {0}), "directory resolve": (["{address}"], {0, 2, 1}), "directory watch": ([], None),
    "worker ls": ([], {0}), "worker show": (["nobody"], {2}), "worker drain": (["nobody"], {2}), "worker stop": (["nobody"], {2}),
    "worker kick": (["nobody"], {2}), "worker block": (["evil-*"], {0}), "worker unblock": (["evil-*"], {0}),
    "stats": ([], {0}), "checkpoint": ([], {0}), "node reload": ([], {0, 5, 1}),
    "bench task": (["--count", "100"], {0}), "bench submit": (["--count", "100"], {0}), "bench drain": (["--count", "100"], {0}),
    "bench blob": (["--count", "1", "--size", "100k"], {0, 5}), "bench publish": (["--count", "100"], {0}), "bench call": (["--count", "100"], {0}),
    "publish": (["e.v1.X", "--payload", "x"], {0}), "subscribe": (["e.*"], None), "events": ([], None),
    "subscription add": (["fed", "e.*"], {0}), "subscription ls": ([], {0}), "subscription rm": (["fed"], {0}),
    "type register": (["t.v1.X"], {0}), "type ls": ([], {0}), "type show": (["t.v1.X"], {0}), "type check": (["t.v1.X", "{file}"], {2}),
    "type diff": (["t.v1.X", "{file}"], {2}), "type rm": (["t.v1.X"], {0}),
    "schedule add": (["nightly", "--every", "1d", "--type", "w.v1.A"], {0}), "schedule ls": ([], {0}), "schedule show": (["nightly"], {0}),
    "schedule pause": (["nightly"], {0}), "schedule resume": (["nightly"], {0}), "schedule run": (["nightly"], {0}),
    "schedule rm": (["nightly"], {0}),
    "group ls": ([], {0}), "group show": (["none"], {2}), "group cancel": (["none"], {2}),
    "principal ls": ([], {0}), "principal show": (["ops"], {0}), "principal add": (["new"], {0}), "principal set": (["new", "--disable"], {0}),
    "principal rm": (["new", "--yes"], {0}),
    "token ls": ([], {0}), "token add": (["ops"], {0}), "token rotate": (["{token}"], {0}), "token rm": (["{token}"], {0}),
    "token access": ([], {0}),
    "acl ls": ([], {0}), "acl add": (["allow", "new", "see", "x"], {0}), "acl test": (["ops", "see", "x"], {0}),
    "acl rm": (["new", "see", "x"], {0}),
    # UNSUPPORTED (5) where the broker keeps none
    "blob put": (["{file}"], {0, 5}), "blob get": (["{digest}"], {0, 5}), "blob ls": ([], {0, 5}), "blob show": (["{digest}"], {0, 5}),
    "blob pin": (["{digest}", "kept"], {0, 5}), "blob unpin": (["{digest}", "kept"], {0, 5}), "blob gc": ([], {0, 5}),
    "blob scrub": ([], {0, 5}), "blob rm": (["{digest}", "--yes"], {0, 2, 3, 5}),
    "doctor": ([], {0, 3}),
}


def commands():
    """What `hillock help` lists: "task ls", "submit" ..."""
    text = subprocess.run([str(HILLOCK), "help"], capture_output=True, text=True, check=True).stdout
    part = text.split("commands:\n")[1].split("\noptions of every command")[0]
    found = []
    for line in part.splitlines():
        words = re.match(r"  (\S+)(?: ([a-z]+))?(?= |$)", line)
        two = [c for c in (f"{words[1]} {words[2]}",) if words[2] and is_command(words[1], words[2])]
        found.append(two[0] if two else words[1])
    return found


def is_command(noun, verb):
    done = subprocess.run([str(HILLOCK), noun, verb, "--help"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.startswith(f"usage: hillock {noun} {verb}")


class Closed:
    def __init__(self, scratch):
        self.broker = Broker(scratch / "data", login_failures_max=100000)  # each is refused once, on purpose
        self.token = scratch / "ops.token"
        self.token.write_text(self.broker.ask("principal", "add", "ops", "--admin", "--with-token")["secret"] + "\n")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HILLOCK_TOKEN")}
        self.environment["HILLOCK_CONFIG"] = str(scratch / "no-contexts")

    def run(self, command, arguments, token=True, limit=WAIT_S):
        line = [str(HILLOCK), *command.split(), *map(str, arguments), "--server", self.broker.url, "--timeout", "5s"]
        line += ["--token-file", str(self.token)] if token else []
        return subprocess.run(line, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL, check=False, env=self.environment)


def every_command_of_the_help_works_with_a_token_and_is_refused_without(scratch):
    listed = commands()
    known = set(RUNS) | set(NEEDS_NONE)
    equal(sorted(set(listed) - known), [], "commands of the help that this test has not heard of")
    equal(sorted(known - set(listed)), [], "commands that the help has not heard of")
    closed = Closed(scratch)

    def fresh(kind):
        return json.loads(closed.run("submit", [kind, "--payload", "x", "--retention", "1h", "-o", "json"]).stdout)["id"]
    done = fresh("w.v1.A")
    equal(closed.run("work", ["w.v1.A", "--exec", "cat", "--count", "1"]).returncode, 0, "one is done")
    file = scratch / "file"
    file.write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    wrong = []
    for command in RUNS:
        arguments, exits = RUNS[command]
        token = json.loads(closed.run("token ls", ["-o", "json"]).stdout)[-1]["token"] if "{token}" in arguments else ""
        if "{token}" in arguments:  # of somebody else's: ours stays
            number = json.loads(closed.run("token add", ["ops", "-o", "json"]).stdout)["token"]
            token = number
        places = {"{task}": fresh("idle.v1.A"), "{done}": done, "{url}": closed.broker.url, "{file}": str(file), "{token}": token,
                  "{address}": "hillock/1/1", "{digest}": digest}
        arguments = [places.get(a, a) for a in arguments]
        without = closed.run(command, arguments, token=False) if exits is not None else None
        if without is not None and command != "doctor":
            if without.returncode != 5 or "PERMISSION" not in without.stderr:
                wrong.append(f"{command} without a token: exit {without.returncode}\n{without.stderr}")
        if exits is None:  # goes on until it is stopped: that it is let in is looked at
            wrong += stays(closed, command, arguments)
            continue
        ran = closed.run(command, arguments)
        if ran.returncode not in exits or "PERMISSION" in ran.stderr:
            wrong.append(f"{command} {arguments}: exit {ran.returncode}, want {exits}\n{ran.stdout}{ran.stderr}")
    equal(wrong, [], "commands that do not do what they should")


def stays(closed, command, arguments):
    """A command without an end of its own: with a token it is there until it is told to stop; without it ends with a refusal."""
    refused = closed.run(command, arguments, token=False)
    wrong = [] if refused.returncode == 5 else [f"{command} without a token: exit {refused.returncode}\n{refused.stderr}"]
    before = figure(closed, "sessions")
    process = subprocess.Popen([str(HILLOCK), *command.split(), *map(str, arguments), "--server", closed.broker.url, "--token-file", str(closed.token)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=closed.environment)
    try:
        while figure(closed, "sessions") <= before:
            if process.poll() is not None:
                return wrong + [f"{command}: exit {process.returncode}\n{process.stderr.read()}"]
        return wrong
    finally:
        process.terminate()
        process.wait(WAIT_S)
        process.stderr.close()


def figure(closed, name):
    return json.loads(closed.run("stats", ["-o", "json"]).stdout)[name]


def a_named_server_is_used_as_a_whole_or_not_at_all(scratch):
    closed = Closed(scratch)
    environment = {**closed.environment, "HILLOCK_CONFIG": str(scratch / "config" / "hillock")}
    environment.pop("HILLOCK_URL", None)

    def run(*args, want=0, **more):
        done = subprocess.run([str(HILLOCK.resolve()), *args], capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL,
                              check=False, env={**environment, **more}, cwd=scratch)
        equal(done.returncode, want, f"{args}: {done.stdout}{done.stderr}")
        return done
    run("context", "show", want=2)
    run("context", "add", "bad name", "--server", closed.broker.url, want=1)
    run("context", "add", "lab", "--server", closed.broker.url, "--token-file", "ops.token", "--vnet", "default")
    run("context", "add", "lab", "--server", closed.broker.url, want=5)
    run("context", "add", "far", "--server", "tcp://127.0.0.1:1")
    equal(oct((scratch / "config" / "hillock").stat().st_mode & 0o777), "0o600", "the file's mode")
    run("queue", "ls")  # the first one is in use
    rows = json.loads(run("context", "ls", "-o", "json").stdout)
    equal([(r["name"], r["current"]) for r in rows], [("lab", True), ("far", False)], "ls")
    equal(json.loads(run("context", "show", "-o", "json").stdout)["token-file"], str(closed.token.resolve()), "an absolute path")
    run("context", "use", "far")
    run("queue", "ls", "--timeout", "300ms", want=4)
    run("queue", "ls", "--context", "lab")
    run("queue", "ls", HILLOCK_CONTEXT="lab")
    run("queue", "ls", "--context", "nowhere", want=2)
    run("context", "use", "lab")
    refused = run("queue", "ls", "--server", closed.broker.url, want=5)  # said otherwise: then without the token of lab
    contains(refused.stderr, "PERMISSION")
    run("queue", "ls", want=5, HILLOCK_URL=closed.broker.url)
    run("context", "rm", "lab")
    run("context", "use", "lab", want=2)
    (scratch / "config" / "hillock").write_text("[x]\nserver = tcp://a:1\ncolour = red\n")
    contains(run("queue", "ls", want=1).stderr, "hillock:3: this key is not known")


def the_doctor_finds_what_is_wrong(scratch):
    closed = Closed(scratch)

    def look(want, **more):
        done = closed.run("doctor", ["-o", "json"], **more)
        equal(done.returncode, want, done.stdout + done.stderr)
        return {row["check"]: row for row in json.loads(done.stdout)}
    rows = look(0)
    equal({c: rows[c]["state"] for c in ("reachable", "version", "credentials", "clock", "workers", "dead letters", "limits")},
          dict.fromkeys(("reachable", "version", "credentials", "clock", "workers", "dead letters", "limits"), "ok"), "all is well")
    contains(rows["credentials"]["detail"], "principal ops")
    contains(rows["tls"]["detail"], "the certificate ends in" if SCHEME == "tls" else "not needed on this machine")
    closed.run("submit", ["lonely.v1.X", "--payload", "x"])
    closed.run("principal set", ["ops", "--limit", "sessions=1"])
    rows = look(0)
    equal((rows["workers"]["state"], rows["limits"]["state"]), ("warn", "warn"), "what is wrong")
    contains(rows["workers"]["detail"], "lonely.v1.X")
    contains(rows["limits"]["detail"], "ops: sessions 1 of 1")
    equal(look(3, token=False)["credentials"]["state"], "fail", "without a token")
    closed.broker.end(15)
    equal(look(4)["reachable"]["state"], "fail", "nobody there")


main([every_command_of_the_help_works_with_a_token_and_is_refused_without, a_named_server_is_used_as_a_whole_or_not_at_all,
      the_doctor_finds_what_is_wrong])
