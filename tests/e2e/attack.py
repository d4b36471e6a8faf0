"""Strangers at the door, and guests who do not behave: what they cost the others is bounded.

Usage: attack.py BUILD_DIR [TEST...]. How much others notice is measured by tools/bench/flood.sh; here it is only that they go on."""

import json
import os

from broker import BUILD, Broker, Process, contains, equal, main, wait_until
from wire import CODES, Connection

MIB = 1 << 20


def flood(broker, mode, *args):
    return Process([BUILD / "tests/flood", broker.port, mode, *args])


def stat(broker, name):
    return broker.ask("stats")[name]


def work(broker, count):
    """Whole lives of tasks; the command checks that none is missing, doubled or changed."""
    equal(broker.ask("bench", "task", "--count", count, "--size", "128")["confirmed"], count, "tasks")


def stalled_handshakes_and_dials_keep_no_worker_from_its_tasks(scratch):
    broker = Broker(scratch / "data", handshakes_max=64, address_rate=500, address_burst=500)
    before = broker.memory()
    stalled = flood(broker, "stall", "--conns", "500", "--addresses", "50", "--rate", "3000", "--seconds", "60")
    churning = flood(broker, "churn", "--rate", "2000", "--seconds", "60")
    wait_until(lambda: stat(broker, "door_evicted_total") > 500, "stalled handshakes are evicted")
    wait_until(lambda: stat(broker, "door_hasty_total") > 100, "the address that dials too fast is turned away")
    work(broker, 20000)  # each of its own connections has to come in through the same door
    assert stat(broker, "conns") < 64 + 32, "what is not a session is bounded"
    assert broker.memory() - before < 64 * MIB, "memory"
    for process in (stalled, churning):
        process.kill_group()
    wait_until(lambda: stat(broker, "conns") == 1, "they are gone")
    equal(broker.end(15), 0, "exit code")


def a_guest_who_asks_and_never_reads_is_shown_out(scratch):
    broker = Broker(scratch / "data", conn_out_soft="64KiB", conn_out_max="1MiB")
    before = broker.memory()
    mute = flood(broker, "mute", "--seconds", "60")
    work(broker, 5000)
    equal(mute.process.wait(60), 0, "it was closed")
    equal(json.loads(mute.output())["closed"], 1, "by the broker")
    equal(stat(broker, "conns_slow_total"), 1, "because it did not read")
    assert broker.memory() - before < 32 * MIB, "memory"
    equal(broker.end(15), 0, "exit code")


def guesses_are_refused_unheard_while_a_worker_goes_on(scratch):
    broker = Broker(scratch / "data", login_failures_max=10, login_penalty_max="1m")
    token = scratch / "ops.token"
    token.write_text(broker.ask("principal", "add", "ops", "--admin", "--with-token")["secret"] + "\n")
    os.environ["HILLOCK_TOKEN_FILE"] = str(token)
    try:
        guessing = flood(broker, "guess", "--conns", "20", "--seconds", "60")
        wait_until(lambda: stat(broker, "logins_held_total") >= 2000, "guesses are refused unheard")
        work(broker, 20000)
        guessing.kill_group()
        heard, held = stat(broker, "logins_failed_total"), stat(broker, "logins_held_total")
        assert heard <= 0.01 * (heard + held), f"{heard} of {heard + held} guesses were heard"
    finally:
        del os.environ["HILLOCK_TOKEN_FILE"]
    equal(broker.end(15), 0, "exit code")


def fill(connection, seq, frames=200, count=4096):
    """Delayed tasks, each of which takes memory, until one frame is refused or the frames are over: the next sequence, the refusal."""
    for _ in range(frames):
        connection.submit(7, seq, [b"12345678"] * count, resolved_below=seq, type="hoard", delay_ms=3600000)
        confirms = connection.expect("CONFIRMS")
        seq += count
        if (confirms["runs"][0]["code"] or 0) != 0:
            return seq, confirms
    return seq, None


def memory_stays_under_its_cap_while_tasks_are_settled(scratch):
    cap = 96 * MIB
    broker = Broker(scratch / "data", memory_cap="96MiB", recv_buffers=64, batch_size="2MiB", segment_size="8MiB", cache_size="8MiB",
                    heartbeat="1m", conn_out_max="8MiB", queue_retention="0ms")
    mute = flood(broker, "mute", "--seconds", "60")
    stalled = flood(broker, "stall", "--conns", "200", "--addresses", "50", "--rate", "1000", "--seconds", "60")
    with Connection(broker.port) as first:
        first.submit(8, 1, [b"x"] * 50, type="work")
        first.expect("CONFIRMS")
    peak = 0
    with Connection(broker.port) as greedy:
        seq, refused = fill(greedy, 1)
        peak = max(peak, broker.memory())
        equal((refused["runs"][0]["code"], refused["retry_after_ms"]), (CODES["RESOURCE_EXHAUSTED"], 1000), "the hoard is refused")
        contains(refused["text"], "memory_cap")
        worker = broker.worker("work", "cat", "--count", "50")
        equal(worker.end(), 0, "what waits is settled")
        peak = max(peak, broker.memory())
        figures = broker.ask("stats")
        assert figures["memory_used_bytes"] <= cap, figures["memory_used_bytes"]
        assert figures["memory_paused_total"] > 0 and figures["memory_refused_total"] > 0, figures
        assert peak <= cap, f"{peak} bytes resident, the cap is {cap}"
        broker.run("queue", "purge", "hoard", "--yes")
        wait_until(lambda: stat(broker, "memory_level") < 3, "it has room again")
        equal(fill(greedy, seq, 1)[1], None, "and takes work")
    for process in (mute, stalled):
        process.kill_group()
    contains((scratch / "data" / "audit.log").read_text(), "memory_cap")
    equal(broker.end(15), 0, "exit code")


main([memory_stays_under_its_cap_while_tasks_are_settled, guesses_are_refused_unheard_while_a_worker_goes_on,
      stalled_handshakes_and_dials_keep_no_worker_from_its_tasks, a_guest_who_asks_and_never_reads_is_shown_out])
