"""Scenarios of events as users of plexo know them, each named after its number, and rekuest 16: real brokers, the commands, and a
driver in C (events_driver.c) for what happens inside one process."""

import json
import signal
import subprocess
import time

import broker
from broker import BUILD, HILLOCK, Broker, Process, contains, equal, wait_until

DRIVER = BUILD / "tests" / "events_driver"


class Subscriber(Process):
    """hillock subscribe; its events as JSON objects."""

    def __init__(self, b, pattern, *args):
        super().__init__([HILLOCK, "--server", b.url, "subscribe", pattern, "-o", "jsonl", *args])
        self.wait_for(r"subscribed to ")

    def events(self):
        return [json.loads(line) for line in self.output().splitlines() if line.endswith("}")]

    def payloads(self):
        return [e["payload"] for e in self.events()]

    def until(self, count):
        wait_until(lambda: len(self.events()) >= count, f"{count} events; there are {self.events()}")
        return self.payloads()


def publish(b, kind, payload, *args):
    return b.ask("publish", kind, "--payload", payload, *args)


def driver(b, *args):
    done = subprocess.run([str(DRIVER), b.url, *args], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(f"driver {args}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def plexo_p01_handlers_times_messages(temp):
    b = Broker(temp / "data")
    for handlers in (1, 2, 3, 4):
        for messages in (1, 2, 3, 4):
            contains(driver(b, "handlers", str(handlers), str(messages)), f"each of {handlers} got {messages}")


def plexo_p02_same_object_and_no_encoding_until_somebody_else_subscribes(temp):
    b = Broker(temp / "data")
    contains(driver(b, "object"), "same object, 0 encoded; with another subscriber 1 encoded, handled once")


def plexo_p03_text_beyond_ascii_arrives_intact(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "text.*")
    publish(b, "text.v1.Line", "so … weiß 日本")
    equal(s.until(1), ["so … weiß 日本"], "payload")


def plexo_p05_every_foo_gets_its_bar(temp):
    b = Broker(temp / "data")
    bars = Subscriber(b, "pair.v1.Bar")
    react = Process([DRIVER, b.url, "react", "pair.v1.Foo", "pair.v1.Bar"])
    react.wait_for("ready")
    for i in range(5):
        publish(b, "pair.v1.Foo", f"foo {i}")
    equal(bars.until(5), [f"bar of foo {i}" for i in range(5)], "bars, in order")


def plexo_p06_programs_share_only_the_form_of_the_payload(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "json.v1.Reading")
    publish(b, "json.v1.Reading", json.dumps({"room": "kitchen", "celsius": 21.5}))
    equal(json.loads(s.until(1)[0]), {"room": "kitchen", "celsius": 21.5}, "what the other program reads")


def plexo_p07_publish_and_subscribe_in_both_directions(temp):
    b = Broker(temp / "data")
    for foo, bar in (("a.Foo", "a.Bar"), ("b.Foo", "b.Bar")):
        Process([DRIVER, b.url, "react", foo, bar]).wait_for("ready")
    s = Subscriber(b, "*")
    publish(b, "a.Foo", "1")
    publish(b, "b.Foo", "2")
    wait_until(lambda: len(s.events()) == 4, "two of each")
    equal(sorted((e["type"], e["payload"]) for e in s.events()),
          [("a.Bar", "bar of 1"), ("a.Foo", "1"), ("b.Bar", "bar of 2"), ("b.Foo", "2")], "all four")


def plexo_p08_subscribers_come_later_and_know_only_the_broker(temp):
    b = Broker(temp / "data")
    publish(b, "late.v1.T", "before")
    subscribers = [Subscriber(b, "late.*") for _ in range(4)]
    equal(publish(b, "late.v1.T", "after")["receivers"], 4, "receivers")
    for s in subscribers:
        equal(s.until(1), ["after"], "only what came after")


def plexo_p11_nobody_is_a_status_and_other_types_are_not_sent(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "x.A")
    answer = publish(b, "x.B", "nothing for it")
    equal((answer["status"], answer["receivers"]), ("no-subscriber", 0), "answer")
    publish(b, "x.A", "for it")
    equal(s.until(1), ["for it"], "only its type")
    equal(b.ask("stats", "event_delivered_total")["event_delivered_total"], 1, "events that were sent")


def plexo_p12_a_bad_payload_does_not_disturb_the_next(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "odd.*")
    (b.data.parent / "raw").write_bytes(b"\xff\xfe\x00broken")
    b.ask("publish", "odd.v9.Unknown", "--file", b.data.parent / "raw")
    publish(b, "odd.v1.Good", "good")
    s.until(2)
    equal(s.events()[0].get("payload_base64"), True, "bytes that are no text")
    equal(s.events()[1]["payload"], "good", "the next one")


def worker(b, queue, command, *args):
    return Process([HILLOCK, "--server", b.url, "work", "--queue", queue, "--exec", command, "--quiet", *args])


def plexo_p14_a_receiver_that_was_away_gets_everything_in_order(temp):
    data = temp / "data"
    b = Broker(data)
    b.run("subscription", "add", "feed", "order.*")
    for i in range(20):
        publish(b, "order.v1.Placed", f"{i}", "--key", "k")
    b.end(signal.SIGKILL)
    b = Broker(data)
    for i in range(20, 40):
        equal(publish(b, "order.v1.Placed", f"{i}", "--key", "k")["receivers"], 1, "receivers")
    out = data.parent / "out"
    done = worker(b, "feed", f"cat >>{out}; echo >>{out}", "--count", "40")
    equal(done.end(), 0, "worker")
    equal(out.read_text().split(), [str(i) for i in range(40)], "all, in order")


def plexo_p15_a_group_that_stands_still_delays_no_other(temp):
    b = Broker(temp / "data")
    for group in ("a", "b"):
        b.run("subscription", "add", group, "post.*")
    for i in range(10):
        publish(b, "post.v1.New", f"{i}")
    equal(worker(b, "a", "cat >/dev/null", "--count", "10").end(), 0, "group a")
    equal(b.ask("queue", "show", "a")["ready"], 0, "a is through")
    equal(b.ask("queue", "show", "b")["ready"], 10, "b stands where it stood")
    equal(worker(b, "b", "cat >/dev/null", "--count", "10").end(), 0, "group b catches up")


def plexo_p16_what_is_not_acknowledged_comes_again(temp):
    b = Broker(temp / "data")
    b.run("subscription", "add", "q", "t")
    publish(b, "t", "once more")
    dying = worker(b, "q", "sleep 60")
    wait_until(lambda: b.ask("queue", "show", "q")["leased"] == 1, "leased")
    dying.kill_group()
    wait_until(lambda: b.ask("queue", "show", "q")["ready"] == 1, "given out again")
    equal(worker(b, "q", "cat >/dev/null", "--count", "1").end(), 0, "second worker")
    row = b.ask("queue", "show", "q")
    equal((row["ready"], row["leased"], row["done_total"]), (0, 0, 1), "acknowledged once")


def plexo_p17_live_items_overtake_queued_ones(temp):
    b = Broker(temp / "data")
    b.run("queue", "create", "items")
    b.run("queue", "bind", "items", "item.*")
    for i in range(3):
        b.run("submit", "item.v1.Update", "--payload", f"update {i}", "--priority", "4")
    b.run("submit", "item.v1.Live", "--payload", "live", "--priority", "20")
    out = b.data.parent / "out"
    equal(worker(b, "items", f"cat >>{out}; echo >>{out}", "--count", "4").end(), 0, "worker")
    equal(out.read_text().splitlines(), ["live", "update 0", "update 1", "update 2"], "the order")


def plexo_p18_a_bad_item_ends_as_a_dead_letter(temp):
    b = Broker(temp / "data")
    listen = Subscriber(b, "hillock.sys.task.*")
    b.run("subscription", "add", "q", "t")
    publish(b, "t", "bad")
    publish(b, "t", "good")
    w = worker(b, "q", "grep -q good || exit 100")
    wait_until(lambda: b.ask("queue", "show", "q")["dead"] == 1 and b.ask("queue", "show", "q")["done_total"] == 1, "one of each")
    listen.until(1)
    contains(listen.payloads()[0], '"queue":"q"')
    w.end(signal.SIGTERM)


def plexo_p19_publish_without_a_broker_returns_in_time(temp):
    b = Broker(temp / "data")
    b.end(signal.SIGKILL)
    begin = time.monotonic()
    done = b.run("publish", "t", "--payload", "x", "--timeout", "1s", status=4)
    took = time.monotonic() - begin
    if took > 10:
        raise AssertionError(f"it took {took} s\n{done.stderr}")


def plexo_p20_overflow_policies(temp):
    b = Broker(temp / "data")
    for policy in ("drop-oldest", "drop-newest", "reject", "block"):
        out = driver(b, "slow", policy)
        contains(out, "counts add up")
        dropped = int(out.split("dropped ")[1].split()[0])
        if (dropped == 0) != (policy == "block"):
            raise AssertionError(f"{policy}: {out}")


def plexo_p22_a_client_in_c_publishes_by_name(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "c.*")
    contains(driver(b, "publish", "c.v1.T", "from C"), "accepted")
    equal(s.until(1), ["from C"], "payload")


def plexo_p23_one_type_in_two_encodings(temp):
    b = Broker(temp / "data")
    old, new, any_of_them = (Subscriber(b, "enc.T", *args) for args in (["--fingerprint", "1"], ["--fingerprint", "2"], []))
    publish(b, "enc.T", "first", "--fingerprint", "1")
    publish(b, "enc.T", "second", "--fingerprint", "2")
    equal(any_of_them.until(2), ["first", "second"], "any")
    equal((old.until(1), new.until(1)), (["first"], ["second"]), "each its own")


def rekuest_16_observable_state(temp):
    """A snapshot first, then every patch, each with the task that caused it, over a reconnect of the publisher."""
    b = Broker(temp / "data")
    publish(b, "state.v1.Camera", "0", "--key", "cam", "--retain", "-H", "task=1")
    s = Subscriber(b, "state.*", "--retained")
    for revision in range(1, 6):
        publish(b, "state.v1.Camera", str(revision), "--key", "cam", "--retain", "-H", f"task={revision + 1}") # a new session each
    equal(s.until(6), [str(r) for r in range(6)], "no gap")
    equal([e["header_task"] for e in s.events()], [str(r + 1) for r in range(6)], "who caused it")
    equal([e["retained"] for e in s.events()], [True] + [False] * 5, "the snapshot, then patches")
    late = Subscriber(b, "state.*", "--retained")
    equal(late.until(1), ["5"], "the newest snapshot")


def system_events_tell_of_queues(temp):
    b = Broker(temp / "data")
    s = Subscriber(b, "hillock.sys.*")
    b.run("queue", "create", "made")
    b.run("queue", "rm", "made", "--yes")
    s.until(2)
    equal([e["type"] for e in s.events()], ["hillock.sys.queue.created", "hillock.sys.queue.removed"], "types")
    contains(s.payloads()[0], '"queue":"made"')


TESTS = [value for name, value in list(globals().items()) if name.startswith(("plexo_", "rekuest_", "system_"))]
if __name__ == "__main__":
    broker.main(TESTS)
