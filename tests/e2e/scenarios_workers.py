#!/usr/bin/env python3
"""What operators do to workers and what workers do to their entries, against a real broker: V4, V13, V21-V24 of VLMessaging, and the
verbs of `hillock worker`.

Usage: scenarios_workers.py BUILD_DIR [TEST...]. Names begin with the number of the scenario."""

import signal
import subprocess
import threading

from broker import BUILD, HILLOCK, Broker, Process, contains, equal, main, started, wait_until
from wire import CODES, Connection

ADD_ONE = "math.v1.AddOne"


class Provider(Process):
    """directory_driver: serves, and takes entries out when it is told to."""

    def __init__(self, broker, *entries):
        self.out = open("/dev/null", "rb")  # nothing is written there
        self.process = subprocess.Popen([str(BUILD / "tests" / "directory_driver"), broker.url, *entries], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        started.append(self)
        self.text = ""
        self.wait_for(r"serving\n")

    def remove(self, *what):
        self.text = ""
        self.process.stdin.write(f"remove {' '.join(what)}\n".encode())
        self.process.stdin.flush()
        return int(self.wait_for(r"removed (\d+) ").group(1))


def services(broker):
    return sorted((row["service"], row["params"]) for row in broker.ask("directory", "ls"))


def again(broker, ending, temp):
    """It ends so, and is there again: the same directory, the same port."""
    broker.end(ending)
    return Broker(temp / "data", port=broker.port)


def vlm_v04_two_peers_send_to_each_other_at_the_same_moment(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, client="left") as left, Connection(broker.port, client="right") as right:
        peers = (left, right)
        for peer in peers:
            peer.declare({"id": 1, "service": f"peer.v1.{'left' if peer is left else 'right'}"})
        gate = threading.Barrier(2)

        def send(me, other):
            gate.wait()
            for number in range(1, 51):
                me.call(number, str(number).encode(), session=other.welcome["address"], entry=1)
        threads = [threading.Thread(target=send, args=pair) for pair in ((left, right), (right, left))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for peer in peers:
            seen = []
            while len(seen) < 50:
                for item, payload in peer.invoked()[0]:
                    seen.append(int(payload))
                    peer.answer(item["call"], payload)
            equal(seen, list(range(1, 51)), "each message once, in order")
        for peer in peers:
            equal([(i["call"], i["code"]) for i, _ in peer.answers(50)], [(n, 0) for n in range(1, 51)], "each answer once")
        equal(left.round_trip()["conns"], 2, "one link each")


def vlm_v13_an_agent_is_asked_to_stop_and_its_process_ends(scratch):
    broker = Broker(scratch / "data")
    gate = scratch / "gate"
    server = Process([HILLOCK, "--server", broker.url, "serve", ADD_ONE, "--name", "agent", "--exec", "read n; echo $((n + 1))"])
    server.wait_for(r"serving \S+ at ")
    worker = broker.worker("slow.v1.Job", f"while [ ! -e {gate} ]; do sleep 0.01; done; cat", "--name", "toiler")
    task = broker.ask("submit", "slow.v1.Job", "-p", "work")["id"]
    wait_until(lambda: broker.ask("task", "show", task)["state"] == "started", "the task is begun")
    provider = Provider(broker, "other.v1.Thing", "")
    equal(broker.ask("worker", "stop", "agent")["sessions"], 1, "who was asked")
    equal(server.end(), 0, "its end")
    equal(broker.ask("worker", "stop", "toiler")["sessions"], 1, "who was asked")
    wait_until(lambda: broker.ask("worker", "show", "toiler")[0]["state"] == "draining", "it gets no more")
    later = broker.ask("submit", "slow.v1.Job", "-p", "later")["id"]
    gate.touch()
    equal(worker.end(), 0, "its end, when its work is done")
    equal(broker.ask("task", "show", task)["state"], "done", "what it held")
    equal(broker.ask("task", "show", later)["state"], "ready", "what came later")
    equal(broker.run("worker", "stop", "nobody", status=2).returncode, 2, "nobody")
    equal(provider.process.poll(), None, "others go on")


def vlm_v21_the_broker_is_lost_and_the_provider_registers_by_itself(scratch):
    broker = Broker(scratch / "data")
    Provider(broker, ADD_ONE, "k=1")
    for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        broker = again(broker, ending, scratch)
        wait_until(lambda b=broker: b.run("directory", "resolve", ADD_ONE, status=None).returncode == 0, "it is found again")
        equal(broker.run("call", ADD_ONE, "-p", "41").strip(), "42", "request")
        equal(services(broker), [(ADD_ONE, "k=1")], "no entry twice")


def vlm_v22_removed_stays_removed_over_a_restart(scratch):
    broker = Broker(scratch / "data")
    provider = Provider(broker, "a.v1.X", "k=1", "a.v1.X", "k=2", "b.v1.Y", "")
    equal(provider.remove("a.v1.X", "k == 1"), 1, "removed")
    equal(services(broker), [("a.v1.X", "k=2"), ("b.v1.Y", "")], "what is left")
    broker = again(broker, signal.SIGKILL, scratch)
    wait_until(lambda: len(services(broker)) == 2, "the others are back")
    equal(services(broker), [("a.v1.X", "k=2"), ("b.v1.Y", "")], "and it alone is not")


def vlm_v23_unregister_by_service_alone_reports_how_many(scratch):
    broker = Broker(scratch / "data")
    provider = Provider(broker, ADD_ONE, "gpu=A100, vram_gb=80", "b.v1.Y", "k=1", "b.v1.Y", "k=2")
    equal(provider.remove(ADD_ONE), 1, "whatever its parameters are")
    equal(provider.remove(ADD_ONE), 0, "there is none any more")
    equal(provider.remove("b.v1.Y"), 2, "all of a service")
    equal(services(broker), [], "entries left")


def vlm_v24_a_third_party_removes_nothing_of_somebody_else(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as holder, Connection(broker.port) as thief:
        holder.declare({"id": 1, "service": ADD_ONE})
        reply = thief.ask("EntryRemove", name=ADD_ONE, session=holder.welcome["address"])
        equal(reply["code"], CODES["PERMISSION"], "by its address")
        equal(thief.ask("EntryRemove", name=ADD_ONE)["count"], 0, "by its service: only one's own are meant")
        equal(len(thief.look(ADD_ONE)), 1, "the entry stays")
        equal(holder.ask("EntryRemove", name=ADD_ONE, session=holder.welcome["address"])["count"], 1, "its own")


def a_blocked_worker_is_kept_out_over_a_restart_until_it_is_unblocked(scratch):
    broker = Broker(scratch / "data")
    events = Process([HILLOCK, "--server", broker.url, "events", "worker.*", "-o", "jsonl"])
    events.wait_for(r"subscribed to ")
    with Connection(broker.port, client="press-7") as worker:
        worker.serve("print.v1.Job", credit=5)
        broker.run("submit", "print.v1.Job", "-p", "one")
        first = worker.task()
        broker.run("worker", "block", format(worker.welcome["address"], "x"), "--reason", "new driver")
        error = worker.receive(("ERROR",))
        equal((error["code"], error["fatal"]), (CODES["BLOCKED"], False), "told at once")
        contains(error["text"], "new driver")
        equal(worker.settle("Complete", first["ref"], b"ok"), ("OK", "Done"), "what it held")
        broker.run("submit", "print.v1.Job", "-p", "two")
        worker.serve("print.v1.Job", credit=5)
        equal(worker.receive(("ERROR", "DELIVER"))["code"], CODES["BLOCKED"], "refused where it serves")
        rows = broker.ask("worker", "ls", "--blocked")
        equal([(r["pattern"], r["reason"], r["until_ms"]) for r in rows], [("press-7", "new driver", 0)], "the list")
    wait_until(lambda: "worker.blocked" in events.output(), "the event")
    broker = again(broker, signal.SIGKILL, scratch)
    with Connection(broker.port, client="press-7") as worker:
        worker.serve("print.v1.Job")
        equal(worker.receive(("ERROR", "DELIVER"))["code"], CODES["BLOCKED"], "after the restart")
        broker.run("worker", "unblock", "press-7")
        broker.run("worker", "unblock", "press-7", status=2)
        worker.serve("print.v1.Job")
        equal(worker.task()["payload"], b"two", "the task that waited")


def a_blocked_process_comes_back_by_itself_when_the_block_has_run_out(scratch):
    broker = Broker(scratch / "data")
    worker = broker.worker("t.v1.X", "cat", "--name", "toiler")
    wait_until(lambda: broker.run("worker", "show", "toiler", status=None).returncode == 0, "it serves")
    broker.run("worker", "block", "toil*", "--for", "500ms")
    worker.wait_for("blocked by the operator")
    task = broker.ask("submit", "t.v1.X", "-p", "x")["id"]
    equal(broker.ask("task", "wait", task)["state"], "done", "its outcome")
    equal(broker.ask("worker", "ls", "--blocked"), [], "blocks left")


def a_worker_is_shown(scratch):
    broker = Broker(scratch / "data")
    gate = scratch / "gate"
    broker.worker("slow.v1.Job", f"while [ ! -e {gate} ]; do sleep 0.01; done; cat", "--name", "toiler", "--param", "gpu=A100")
    task = broker.ask("submit", "slow.v1.Job", "-p", "work")["id"]
    wait_until(lambda: broker.ask("task", "show", task)["state"] == "started", "the task is begun")
    shown = broker.ask("worker", "show", "toiler")
    equal(len(shown), 1, "sessions")
    equal(shown[0]["entries"][0]["params"], 'gpu="A100"', "its parameters")
    equal([(l["task"], l["queue"], l["started"]) for l in shown[0]["leases"]], [(task, "slow.v1.Job", True)], "what it holds")
    contains(shown[0]["release"], "libhillock ")
    gate.touch()
    broker.ask("task", "wait", task)
    shown = broker.ask("worker", "show", shown[0]["session"])[0]
    equal((shown["delivered_total"], shown["completed_total"], shown["leases"]), (1, 1, []), "what it has done")
    contains(broker.run("worker", "show", "toiler"), "slow.v1.Job")
    broker.run("worker", "show", "nobody", status=2)


main([vlm_v04_two_peers_send_to_each_other_at_the_same_moment, vlm_v13_an_agent_is_asked_to_stop_and_its_process_ends,
      vlm_v21_the_broker_is_lost_and_the_provider_registers_by_itself, vlm_v22_removed_stays_removed_over_a_restart,
      vlm_v23_unregister_by_service_alone_reports_how_many, vlm_v24_a_third_party_removes_nothing_of_somebody_else,
      a_blocked_worker_is_kept_out_over_a_restart_until_it_is_unblocked,
      a_blocked_process_comes_back_by_itself_when_the_block_has_run_out, a_worker_is_shown])
