#!/usr/bin/env python3
"""Schedules against a real broker and the real clock.

Usage: scenarios_schedule.py BUILD_DIR [NAME...]"""

import pathlib
import time

from broker import Broker, Skip, contains, equal, main, wait_until

USAGE, NOT_FOUND, REFUSED = 1, 2, 5


def fired(broker, name):
    return broker.ask("schedule", "show", name)["fired_total"]


def a_schedule_submits_and_a_worker_does(tmp):
    broker = Broker(tmp / "data")
    broker.worker("tick", "cat >/dev/null; echo done")
    broker.run("schedule", "add", "s", "--every", "1s", "--type", "tick", "-p", "x", "--retention", "1h")
    wait_until(lambda: broker.ask("schedule", "show", "s")["fired_total"] >= 2, "two times")
    task = broker.ask("schedule", "show", "s")["last_task"]
    wait_until(lambda: broker.ask("task", "show", task)["state"] == "done", "its task is done")


def no_time_is_fired_twice_over_a_kill(tmp):
    broker = Broker(tmp / "data")
    broker.run("schedule", "add", "s", "--every", "1s", "--type", "tick", "--misfire", "run-all")
    created = broker.ask("schedule", "show", "s")["created_ms"]
    for _ in range(3):
        wait_until(lambda: fired(broker, "s") > 0 and time.time() * 1000 % 1000 > 0, "a time")
        broker.kill_group()
        broker = Broker(tmp / "data")
    shown = wait_until(lambda: (lambda s: s if s["fired_total"] >= 4 else None)(broker.ask("schedule", "show", "s")), "four times")
    passed = (shown["next_ms"] - created) // 1000 - 1
    equal(shown["fired_total"] + shown["skipped_total"], passed, "times that passed")
    equal(shown["skipped_total"], 0, "skipped")
    broker.run("schedule", "pause", "s")
    total = broker.ask("schedule", "show", "s")["fired_total"]
    equal(broker.ask("queue", "show", "tick")["submitted_total"], total, "tasks")


def cron_knows_time_zones(tmp):
    if not pathlib.Path("/usr/share/zoneinfo/Europe/Berlin").exists():
        raise Skip("no time zone database")
    broker = Broker(tmp / "data")
    shown = broker.ask("schedule", "add", "s", "--cron", "30 6 * * *", "--timezone", "Europe/Berlin", "--type", "t")
    minute = shown["next_ms"] // 60000 % 1440
    equal(minute in (4 * 60 + 30, 5 * 60 + 30), True, f"06:30 in Berlin in UTC minutes, {minute}")
    equal(broker.ask("schedule", "add", "u", "--cron", "30 6 * * *", "--type", "t")["next_ms"] // 60000 % 1440, 390, "06:30 UTC")
    equal([s["name"] for s in broker.ask("schedule", "ls")], ["s", "u"], "schedules")
    broker.run("schedule", "add", "x", "--cron", "0 0 * * *", "--timezone", "Moon/Crater", "--type", "t", status=NOT_FOUND)
    contains(broker.run("schedule", "add", "x", "--cron", "0 25 * * *", "--type", "t", status=USAGE).stderr, "hour: 25 is not from 0 to 23")
    broker.run("schedule", "add", "x", "--cron", "0 0 31 2 *", "--type", "t", status=USAGE)
    broker.run("schedule", "add", "s", "--every", "1h", "--type", "t", status=REFUSED)


def a_task_that_takes_too_long_is_replaced_by_the_next(tmp):
    broker = Broker(tmp / "data")
    broker.run("queue", "create", "tick")
    broker.worker("tick", "cat >/dev/null; exec sleep 60", "-c", "4")
    broker.run("schedule", "add", "s", "--every", "1s", "--type", "tick", "--overlap", "replace")
    wait_until(lambda: broker.ask("queue", "show", "tick")["cancelled_total"] >= 2, "two that were replaced")
    broker.run("schedule", "pause", "s")
    shown = broker.ask("schedule", "show", "s")
    equal((shown["overlap"], shown["skipped_total"]), ("replace", 0), "what it does with the task before, and what it skipped")
    wait_until(lambda: broker.ask("queue", "show", "tick")["leased"] == 1, "the newest is the only one")
    equal(broker.ask("task", "show", shown["last_task"])["state"] in ("leased", "started"), True, "the newest is worked on")


def a_schedule_is_run_paused_and_removed(tmp):
    broker = Broker(tmp / "data")
    broker.run("schedule", "add", "s", "--every", "1h", "--type", "t")
    broker.run("schedule", "run", "s")
    wait_until(lambda: fired(broker, "s") == 1, "run by hand")
    broker.run("schedule", "pause", "s")
    equal(broker.ask("schedule", "show", "s")["paused"], True, "paused")
    broker.run("schedule", "resume", "s")
    broker.run("schedule", "rm", "s")
    broker.run("schedule", "show", "s", status=NOT_FOUND)
    equal(broker.ask("queue", "show", "t")["ready"], 1, "its task stays")


main([a_schedule_submits_and_a_worker_does, no_time_is_fired_twice_over_a_kill, cron_knows_time_zones,
      a_task_that_takes_too_long_is_replaced_by_the_next, a_schedule_is_run_paused_and_removed])
