#!/usr/bin/env python3
"""Types: contracts that change, payloads that do not fit, old names. Named after the scenarios they stand for.

Usage: scenarios_types.py BUILD_DIR [NAME...]"""

import pathlib
import shutil
import subprocess

from broker import HILLOCK, Broker, Process, Skip, WAIT_S, contains, equal, main, wait_until

SCHEMAS = pathlib.Path(__file__).resolve().parent.parent / "schemas"
USAGE, REFUSED = 1, 5


def flatc(*args):
    if not shutil.which("flatc"):
        raise Skip("flatc is not installed")
    subprocess.run(["flatc", *map(str, args)], check=True, timeout=WAIT_S, capture_output=True)


def compiled(directory, name):
    """tests/schemas/NAME.fbs as a .bfbs."""
    flatc("-b", "--schema", "--bfbs-builtins", "-o", directory, SCHEMAS / f"{name}.fbs")
    return directory / f"{name}.bfbs"


def payload(directory):
    flatc("-b", "-o", directory, SCHEMAS / "job_base.fbs", SCHEMAS / "job_base.json")
    return directory / "job_base.bin"


def rekuest_15_a_contract_changes_and_nobody_breaks_silently(tmp):
    """An incompatible change is refused with its reason; a compatible one extends, and who speaks the old one goes on."""
    broker = Broker(tmp / "data")
    first = broker.ask("type", "register", "video.Transcode", "--schema", compiled(tmp, "job_base"), "--root", "Transcode",
                       "--policy", "fingerprint")
    for name, reason in (("job_retyped", "crf: its type changes from int to long"), ("job_removed", "crf: is gone"),
                         ("job_reordered", "moved from id"), ("job_default", "its default changes"),
                         ("job_enum", "its value changes from 1 to 2"), ("job_new_required", "is new and required"),
                         ("job_required", "becomes required"), ("job_struct", "the struct changes")):
        done = broker.run("type", "register", "video.Transcode", "--schema", compiled(tmp, name), status=REFUSED)
        contains(done.stderr, reason)
        contains(done.stderr, "INCOMPATIBLE")
        contains(broker.run("type", "diff", "video.Transcode", tmp / f"{name}.bfbs", status=REFUSED).stderr, reason)
    second = broker.ask("type", "register", "video.Transcode", "--schema", compiled(tmp, "job_appended"))
    equal(second["fingerprints"][1], first["fingerprint"], "the old fingerprint stays known")
    for fingerprint in (first["fingerprint"], second["fingerprint"]):
        broker.run("submit", "video.Transcode", "--fingerprint", fingerprint, "-p", "x")
    contains(broker.run("submit", "video.Transcode", "--fingerprint", "123", "-p", "x", status=REFUSED).stderr,
             "fingerprint 0000000000000123 is none of the 2 known")
    contains(broker.run("submit", "video.Transcode", "-p", "x", status=REFUSED).stderr, "states no fingerprint")


def plexo_p4_a_payload_that_does_not_fit_is_refused_where_it_is_sent(tmp):
    """The sender is told which field is wrong; the worker sees only what fits."""
    broker = Broker(tmp / "data")
    good = payload(tmp)
    broker.run("type", "register", "video.Transcode", "--schema", compiled(tmp, "job_base"), "--policy", "verify")
    bad = tmp / "bad.bin"
    data = bytearray(good.read_bytes())
    data[data.index(b"h264-marker") - 1] = 0x10
    bad.write_bytes(data)
    broker.run("submit", "video.Transcode", "--file", good)
    done = broker.run("submit", "video.Transcode", "--file", bad, status=REFUSED)
    contains(done.stderr, "Transcode.inputs[1].codec: the string runs past the end")
    contains(done.stderr, "SCHEMA_MISMATCH")
    broker.run("submit", "video.Transcode", "-p", "plain text", status=REFUSED)
    equal(broker.ask("queue", "show", "video.Transcode")["ready"], 1, "tasks that were taken")
    broker.run("type", "check", "video.Transcode", good)
    broker.run("type", "check", "video.Transcode", bad, status=REFUSED)


def plexo_p23_types_without_a_schema_are_plain_names(tmp):
    broker = Broker(tmp / "data")
    broker.run("type", "register", "anything", "--policy", "open")
    broker.run("submit", "anything", "-p", "text")
    broker.run("submit", "never.registered", "-p", "text")
    contains(broker.run("type", "register", "anything", "--policy", "verify", status=USAGE).stderr, "needs a schema")
    contains(broker.run("type", "register", "x", "--schema", SCHEMAS / "job_base.fbs", status=USAGE).stderr, "schema: bfbs")


def the_old_name_of_a_type_keeps_working(tmp):
    broker = Broker(tmp / "data")
    worker = broker.worker("transcode", "cat >/dev/null; echo done")
    worker.wait_for("connected|serving|waiting|ready")
    broker.run("type", "register", "video.Transcode", "--policy", "open")
    broker.run("type", "register", "video.Transcode", "--alias", "transcode")
    task = broker.ask("submit", "video.Transcode", "-p", "x", "--retention", "1h")["id"]
    wait_until(lambda: broker.ask("task", "show", task)["state"] == "done", "a task under the new name, done under the old")
    broker.ask("submit", "transcode", "-p", "x")
    names = [q["name"] for q in broker.ask("queue", "ls")]
    equal(names, ["video.Transcode"], "queues")


def a_change_of_a_type_is_an_event_of_the_broker(tmp):
    broker = Broker(tmp / "data")
    events = Process([HILLOCK, "--server", broker.url, "events", "type.*", "-o", "jsonl", "--count", "1"])
    events.wait_for("subscribed")
    broker.run("type", "register", "video.Transcode", "--policy", "open")
    equal(events.end(), 0, "exit of hillock events")
    contains(events.output(), "hillock.sys.type.changed")
    contains(events.output(), "video.Transcode")


def the_registry_is_there_after_a_restart(tmp):
    broker = Broker(tmp / "data")
    broker.run("type", "register", "media", "--policy", "open")
    shown = broker.ask("type", "register", "video.Transcode", "--schema", compiled(tmp, "job_base"), "--policy", "verify",
                       "--parent", "media", "--alias", "old")
    broker.kill_group()
    broker = Broker(tmp / "data")
    equal(broker.ask("type", "show", "old"), shown, "the type after a restart")
    equal([t["name"] for t in broker.ask("type", "ls")], ["media", "video.Transcode"], "types")
    broker.run("submit", "old", "-p", "plain text", status=REFUSED)
    broker.run("type", "rm", "media", status=REFUSED)
    broker.run("type", "rm", "video.Transcode")
    broker.run("type", "rm", "media")
    equal(broker.ask("type", "ls"), [], "types")


main([rekuest_15_a_contract_changes_and_nobody_breaks_silently, plexo_p4_a_payload_that_does_not_fit_is_refused_where_it_is_sent,
      plexo_p23_types_without_a_schema_are_plain_names, the_old_name_of_a_type_keeps_working,
      a_change_of_a_type_is_an_event_of_the_broker, the_registry_is_there_after_a_restart])
