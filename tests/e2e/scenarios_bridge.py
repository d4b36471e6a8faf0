#!/usr/bin/env python3
"""Several brokers joined by bridges (VLMessaging V6, V8, plexo P10), and payloads that nobody on the way can read (V27).

Usage: scenarios_bridge.py BUILD_DIR [TEST...]. Names begin with the number of the scenario."""

import hashlib
import hmac
import json
import os
import re
import signal

from broker import BUILD, HILLOCK, Broker, Process, at_the_same_time, contains, equal, main, wait_until
from wire import CODES, Connection

ADD_ONE = "math.v1.AddOne"
ADD = "read n; echo $((n + 1))"
SCHEMAS = BUILD / "tests" / "schemas"
NOT_FOUND, REFUSED = 2, 5


def bridge(source, target, *more):
    """A bridge, once it is connected at both ends."""
    process = Process([HILLOCK, "bridge", "--from", source.url, "--to", target.url, *more])
    process.wait_for(r"from: up")
    process.wait_for(r"to: up")
    return process


def serve(broker, *more, service=ADD_ONE, command=ADD):
    process = Process([HILLOCK, "--server", broker.url, "serve", service, "--exec", command, *more])
    return process, process.wait_for(r"serving \S+ at (\S+)\n").group(1)


def entries(broker, service=ADD_ONE, *more):
    return json.loads(broker.run("directory", "resolve", service, *more, "-o", "json", status=None).stdout)


def found(broker, service=ADD_ONE, count=1, *more):
    """The entries, once there are so many that have their connection."""
    def look():
        rows = [row for row in entries(broker, service, *more) if not row["away"]]
        return rows if len(rows) == count else None
    return wait_until(look, f"{count} entries of {service} at {broker.url}") if count else wait_until(
        lambda: not entries(broker, service, *more), f"no entry of {service}")


def vlm_v06_add_one_found_over_two_brokers_on_one_machine(scratch):
    one, two = Broker(scratch / "one"), Broker(scratch / "two")
    serve(one, "--vnet", "local", "--param", "precision=64", "--concurrency", "3")
    serve(one, "--vnet", "other", "--param", "precision=32")
    bridge(one, two, "--vnet", "local")
    row = found(two, ADD_ONE, 1, "--vnet", "local")[0]
    equal(re.sub(r'bridge\.(origin|via)=("[^"]*"|\[[^]]*\])', r"\1", row["params"]), "origin, via, precision=64", "its parameters")
    equal((row["capacity"], row["client"]), (3, "hillock bridge"), "capacity, and who declares it")
    equal(two.run("call", ADD_ONE, "--vnet", "local", "--params", "precision >= 64", "-p", "41").strip(), "42", "by responsibility")
    equal(two.run("call", "--address", row["address"], "--vnet", "local", "-p", "41").strip(), "42", "by address")
    equal(entries(two, ADD_ONE, "--vnet", "other"), [], "what is in another vnet stays there")
    equal(entries(two), [], "nor is it in ours")


def vlm_v08_who_is_behind_a_gateway_reaches_the_agent_and_back(scratch):
    one, two, three = (Broker(scratch / name, session_grace="200ms") for name in ("r1", "r2", "r3"))
    crossings = [bridge(*ends) for ends in ((one, two), (two, three), (three, one), (two, one), (three, two))]
    with Connection(one.port) as agent, Connection(three.port) as caller:
        agent.declare({"id": 1, "service": ADD_ONE, "capacity": 8, "params": "precision=64", "cost": 3, "hot": ["one"]})
        rows = [found(broker)[0] for broker in (two, three)]
        equal([(row["capacity"], row["cost"], row["hot"]) for row in rows], [(8, 3, ["one"])] * 2, "as it was declared")
        equal(len({re.search(r'origin="([^"]*)"', row["params"]).group(1) for row in rows}), 1, "both stand for the same one")
        caller.call(1, b"41", service=ADD_ONE)
        (item, payload), = agent.invoked()[0]
        equal(payload, b"41", "what arrives")
        agent.answer(item["call"], b"42", app_code=7)
        item, payload = caller.answers()[0]
        equal((item["code"], item["app_code"], payload), (0, 7, b"42"), "what comes back")
        caller.call(2, bytes(range(256)), service=ADD_ONE, type="math.v1.Count", stream=True)  # in parts
        (item, payload), = agent.invoked()[0]
        for number in range(5):
            agent.answer(item["call"], b"part %d" % number, more=1)
        agent.answer(item["call"], b"end")
        equal([(p, i["more"]) for i, p in caller.answers(6)], [(b"part %d" % n, 1) for n in range(5)] + [(b"end", 0)], "parts")
        equal(payload, bytes(range(256)), "the payload")
        caller.call(3, b"x", service=ADD_ONE)  # an error of the holder's own
        agent.answer(agent.invoked()[0][0][0]["call"], b"math.v1.AddOne", code=CODES["DOES_NOT_UNDERSTAND"])
        equal([(i["code"], p) for i, p in caller.answers()], [(CODES["DOES_NOT_UNDERSTAND"], b"math.v1.AddOne")], "as it is")
        caller.call(4, b"ping", service=ADD_ONE, type="hillock.Ping")  # which is the agent's to answer, not the bridge's
        agent.answer(agent.invoked()[0][0][0]["call"], b"ping")
        equal(caller.answers()[0][1], b"ping", "the ping")
        caller.call(5, b"x", service=ADD_ONE, deadline_ms=100)
        late = agent.invoked()[0][0][0]
        assert late["deadline_ms"] <= 100, "the deadline goes along"
        equal(caller.answers()[0][0]["code"], CODES["TIMEOUT"], "it holds")
        equal(agent.expect("CALL_CANCEL")["calls"], [late["call"]], "the agent is told")
        caller.call(6, b"x", service=ADD_ONE, deadline_ms=600000)
        given_up = agent.invoked()[0][0][0]
        caller.send("CALL_CANCEL", calls=[6])
        equal(agent.expect("CALL_CANCEL")["calls"], [given_up["call"]], "a cancel crosses, too")
        caller.call(7, b"x", service=ADD_ONE, deadline_ms=600000)
        agent.invoked()
        agent.send("GOODBYE")  # with the call in work
        equal(caller.answers()[0][0]["code"], CODES["NOT_DELIVERED"], "a holder that goes")
    for broker in (two, three):
        found(broker, ADD_ONE, 0)
    with Connection(three.port) as agent:  # the other way round, over the bridge of the ring
        agent.declare({"id": 1, "service": ADD_ONE})
        for broker in (one, two):  # straight, and by way of the other: once for each way, and nothing goes round
            rows = found(broker, ADD_ONE, 2)
            equal(sorted(len(re.search(r"via=\[([^]]*)\]", row["params"]).group(1).split()) for row in rows), [1, 2], "the two ways")
            equal({re.search(r'origin="([^"]*)"', row["params"]).group(1) for row in rows}, {f"hillock/{agent.welcome['address']:x}/1"},
                  "both lead to the same one")
        equal(len(entries(three)), 1, "where it is it does not come from elsewhere")
        for process in crossings:
            equal(process.process.poll(), None, "each bridge is there")


def vlm_v08_entries_go_with_either_link_and_come_back(scratch):
    one, two = Broker(scratch / "r1"), Broker(scratch / "r2", session_grace="100ms")
    process = bridge(one, two)
    with Connection(two.port) as caller:
        for round_number in range(2):
            server, _ = serve(one)
            found(two)
            equal(two.run("call", ADD_ONE, "-p", "41").strip(), "42", f"round {round_number}")
            server.kill_group()
            found(two, ADD_ONE, 0)
        with Connection(one.port) as agent:
            agent.declare({"id": 1, "service": ADD_ONE})
            found(two)
            caller.call(1, b"x", service=ADD_ONE, deadline_ms=600000)
            agent.invoked()
            one.end(signal.SIGKILL)  # the link to the first broker, with a call in work
            item, text = caller.answers()[0]
            equal(item["code"], CODES["NOT_DELIVERED"], "what was in work")
            contains(text.decode(), "may have been carried out")
            process.wait_for("from: down")
            equal(caller.look(service=ADD_ONE), [], "its entries are gone at once")
        one = Broker(scratch / "r1", port=one.port)
        server, _ = serve(one)
        found(two)
        equal(two.run("call", ADD_ONE, "-p", "41").strip(), "42", "when it is back")
        process.kill_group()  # the bridge itself
        found(two, ADD_ONE, 0)
        process = bridge(one, two)
        found(two)
        equal(process.end(signal.SIGTERM), 0, "an orderly end")
        equal([e for e in caller.look(service=ADD_ONE) if not e["away"]], [], "takes everything back")
        process = bridge(one, two)
        found(two)
        two.end(signal.SIGKILL)  # the link to the second broker
        two = Broker(scratch / "r2", port=two.port)
        found(two)
        equal(two.run("call", ADD_ONE, "-p", "41").strip(), "42", "the bridge has declared it anew")


def a_bridge_passes_events_on_and_each_arrives_once(scratch):
    one, two = Broker(scratch / "r1"), Broker(scratch / "r2")
    bridge(one, two, "--events", "room.*")
    bridge(two, one, "--events", "room.*")
    subscribers = [Connection(b.port, client="subscriber") for b in (one, two)]
    for s in subscribers:
        s.send("SUBSCRIBE", subscription=1, pattern="*", unlimited=True)
        s.expect("SUBSCRIBED")
    wait_until(lambda: all(s.round_trip()["event_subscriptions"] == 2 for s in subscribers), "the bridges have subscribed")
    for n in range(20):
        (one, two)[n % 2].run("publish", "room.v1.Temperature", "--key", "kitchen", "--payload", f"{n}")
    one.run("publish", "lab.v1.Other", "--payload", "stays here")
    wait_until(lambda: sum(s.round_trip()["event_duplicates_total"] for s in subscribers) == 20, "each has gone there and come back")
    for s, wanted in zip(subscribers, (21, 20)):
        got = []
        while len(got) < wanted:
            message, at = s.expect("EVENTS"), 0
            for size in message["sizes"]:
                got.append(message.payload[at:at + size].decode())
                at += size
        s.round_trip()
        equal([m for m in s.waiting if m.kind == "EVENTS"], [], "and no more")
        equal(sorted(got), sorted([str(n) for n in range(20)] + ["stays here"] * (wanted - 20)), "each once")


def what_cannot_be_a_bridge_says_why(scratch):
    one, two = Broker(scratch / "r1"), Broker(scratch / "r2", node='"two"')
    for args, words in (((), "a bridge has two ends"), (("--from", one.url, "--to", "what://is"), "what://is"),
                        (("--from", one.url, "--to", two.url, "--events", "hillock.sys.*"), "stays there")):
        contains(one.run("bridge", *args, status=1).stderr, words)
    contains(one.run("bridge", "--from", one.url, "--to", one.url, status=REFUSED).stderr, "both ends are at the same broker")
    process = bridge(one, two, "--service", "a.v1.A", "--service", "b.v1.B", "--where", "n >= 1")
    with Connection(one.port) as agent:
        long = ", ".join(f'p{n}="{"x" * 250}"' for n in range(15)) + f', q="{"x" * 200}"'
        agent.declare({"id": 1, "service": "a.v1.A", "params": "n=1"}, {"id": 2, "service": "a.v1.A", "params": "n=0"},
                      {"id": 3, "service": "c.v1.C", "params": "n=1"}, {"id": 4, "service": "b.v1.B", "params": "n=2, " + long},
                      {"id": 5, "service": "b.v1.B", "params": "n=3"})
        found(two, "b.v1.B")
        equal(sorted(row["service"] for row in two.ask("directory", "ls")), ["a.v1.A", "b.v1.B"], "those that were asked for, and fit")
        contains(process.wait_for(r"skipped b\.v1\.B .*\n").group(0), "over the limit of 4096")


def plexo_p10_one_identity_of_a_type_though_a_link_breaks_before_the_confirm(scratch):
    broker = Broker(scratch / "data")

    def register(name, schema):
        return broker.run("type", "register", name, "--schema", SCHEMAS / f"{schema}.bfbs", status=None)

    def register_and_vanish(name, schema):
        process = Process([HILLOCK, "--server", broker.url, "type", "register", name, "--schema", SCHEMAS / f"{schema}.bfbs"])
        process.process.kill()  # whenever that is: before, on its way, or after it was taken

    for n in range(12):  # the same one by two, one of whom never hears of it
        name = f"race.v1.Same{n}"
        at_the_same_time(lambda: register_and_vanish(name, "job_base"), lambda: register(name, "job_base"))
        again = broker.ask("type", "register", name, "--schema", SCHEMAS / "job_base.bfbs")
        equal(len(again["fingerprints"]), 1, "one id of the type")
    for n in range(12):  # different ones of one name: who comes second is told
        name, both = f"race.v1.Torn{n}", {}
        at_the_same_time(lambda: register_and_vanish(name, "job_retyped"), lambda: both.update(base=register(name, "job_base")))
        first = both["base"].returncode == 0
        outcomes = [register(name, schema).returncode for schema in ("job_base", "job_retyped")]  # all are back, and say it again
        equal(outcomes, [0, REFUSED] if first else [REFUSED, 0], "one of them stands")
        equal(len(broker.ask("type", "show", name)["fingerprints"]), 1, "and it is the only one there ever was")
    broker.end(signal.SIGKILL)
    before = None
    for _ in range(2):
        broker = Broker(scratch / "data", port=broker.port)
        types = [(row["name"], row["fingerprints"]) for row in broker.ask("type", "ls")]
        equal((len(types), all(len(f) == 1 for _, f in types), len({f[0] for _, f in types})), (24, True, 24), "after a restart")
        equal(types, before or types, "and another")
        before = types
        broker.end(signal.SIGKILL)


def plexo_p10_also_from_behind_a_bridge_that_breaks(scratch):
    one, two = Broker(scratch / "r1"), Broker(scratch / "r2", session_grace="100ms")
    registrar = f"read -r name; {HILLOCK} --server {one.url} type register $name --schema {SCHEMAS / 'job_base.bfbs'} -o json"
    serve(one, "--concurrency", "4", service="registry.v1.Assign", command=registrar)
    process = bridge(one, two)
    for n in range(6):
        name, cut = f"race.v1.Far{n}", n % 2 == 1
        found(two, "registry.v1.Assign")
        answers = {}
        jobs = [lambda b=b, k=k: answers.update({k: b.run("call", "registry.v1.Assign", "-p", name, "-o", "json", status=None)})
                for k, b in (("near", one), ("far", two))]
        at_the_same_time(*jobs, *([process.kill_group] if cut else []))
        equal(answers["near"].returncode, 0, "who is on the same side is answered")
        if answers["far"].returncode != 0:
            equal((cut, answers["far"].returncode), (True, NOT_FOUND), "who is cut off is told so: NOT_DELIVERED")
        if cut:
            process = bridge(one, two)
        found(two, "registry.v1.Assign")
        again = [b.run("call", "registry.v1.Assign", "-p", name) for b in (one, two)]  # healed: both sides ask again
        equal(len({re.search(r'"fingerprints": ?\[\s*"(\w+)"\s*\]', text).group(1) for text in again}), 1, "one id for both sides")
        equal(len(one.ask("type", "show", name)["fingerprints"]), 1, "and the only one")


def a_bridge_shows_who_it_is_at_either_end(scratch):
    one, two = Broker(scratch / "r1"), Broker(scratch / "r2")
    secret = one.ask("principal", "add", "ops", "--admin", "--with-token")["secret"]
    token = scratch / "ops.token"
    token.write_text(secret)
    done = one.run("bridge", "--from", one.url, "--to", two.url, status=REFUSED)
    contains(done.stderr, "bridge: from: ")
    contains(done.stderr, "PERMISSION")
    done = one.run("bridge", "--from", two.url, "--to", one.url, status=REFUSED)
    contains(done.stderr, "bridge: to: ")
    serve(one, "--token-file", token)
    bridge(one, two, "--from-token-file", token)
    found(two)
    equal(two.run("call", ADD_ONE, "-p", "41").strip(), "42", "with the token of the one that asks for it")
    lonely = Process([HILLOCK, "bridge", "--from", two.url, "--to", "tcp://127.0.0.1:1"])
    lonely.wait_for("to: down .*127.0.0.1:1")  # one that is not there is waited for, and said


PRIME = int("FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D"
            "6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF", 16)


def sealed(key, number, text):
    """A stream of SHA-256 over a counter, and an HMAC: what matters is that nobody without the key can read or change it."""
    stream = b"".join(hashlib.sha256(key + b"%d %d" % (number, i)).digest() for i in range(len(text) // 32 + 1))
    raw = bytes(a ^ b for a, b in zip(text, stream))
    return raw + hmac.new(key, b"%d" % number + raw, "sha256").digest()


def opened(key, number, raw):
    body, tag = raw[:-32], raw[-32:]
    equal(hmac.new(key, b"%d" % number + body, "sha256").digest(), tag, "not a byte is another")
    return sealed(key, number, body)[:-32]


def vlm_v27_what_is_encrypted_end_to_end_passes_unread_and_unchanged(scratch):
    broker, far = Broker(scratch / "data"), Broker(scratch / "far")
    good = (BUILD / "tests" / "schemas" / "job_base.bin").read_bytes()
    for name, policy in (("sealed.v1.Open", "open"), ("sealed.v1.Checked", "verify")):
        broker.run("type", "register", name, "--schema", SCHEMAS / "job_base.bfbs", "--policy", policy)
    with Connection(broker.port) as agent, Connection(broker.port) as caller:
        agent.send("SERVE", entries=[{"id": 1, "service": "sealed.v1.Open", "credit": 9}, {"id": 2, "service": "plain.v1.Task", "credit": 9}])
        mine, its = (int.from_bytes(os.urandom(32), "big") for _ in range(2))
        caller.call(1, b"%x" % pow(2, mine, PRIME), service="sealed.v1.Open")  # they agree on a key, in the open
        (item, half), = agent.invoked()[0]
        agent.answer(item["call"], b"%x" % pow(2, its, PRIME))
        key = hashlib.sha256(b"%x" % pow(int(half, 16), its, PRIME)).digest()
        equal(hashlib.sha256(b"%x" % pow(int(caller.answers()[0][1], 16), mine, PRIME)).digest(), key, "the key of both")
        secret = bytes(range(256)) * 40 + b"not for the broker"
        for number, name in ((2, "sealed.v1.Open"), (3, "plain.v1.Task")):
            raw = sealed(key, number, secret)
            caller.call(number, raw, service=name)
            (item, payload), = agent.invoked()[0]
            equal(opened(key, number, payload), secret, "a call")
            agent.answer(item["call"], sealed(key, number + 10, payload))
            equal(opened(key, number + 10, caller.answers()[0][1]), raw, "its answer")
            caller.submit(1, number, [raw], type=name, want_result=True, want_updates=True)
            caller.confirms(1)
            task = agent.task()
            equal(opened(key, number, task["payload"]), secret, "a task")
            agent.report("Yield", task["ref"], raw, app_code=0)
            agent.report("Complete", task["ref"], sealed(key, number + 20, raw), delay_ms=1)
            updates = caller.expect("UPDATES")
            while updates["items"][0]["kind"] != 3:
                updates = caller.expect("UPDATES")
            equal(updates.payload[:updates["items"][0]["size"]], raw, "a yield")
            equal(opened(key, number + 20, caller.results(1)[task["ref"]["task"]][1]), raw, "its result")
            agent.send("SUBSCRIBE", subscription=number, pattern=name, unlimited=True)
            agent.expect("SUBSCRIBED")
            file = scratch / f"{name}.bin"
            file.write_bytes(raw)
            broker.run("publish", name, "--file", file)
            equal(agent.expect("EVENTS").payload[:len(raw)], raw, "an event")
        caller.call(4, raw, service="plain.v1.Task", type="sealed.v1.Checked")
        equal(caller.answers()[0][0]["code"], CODES["SCHEMA_MISMATCH"], "whose type is to be verified must be readable")
        caller.call(5, good, service="plain.v1.Task", type="sealed.v1.Checked")
        agent.answer(agent.invoked()[0][0][0]["call"], b"ok")
        equal(caller.answers()[0][1], b"ok", "what fits goes through")
        bridge(broker, far)
        found(far, "sealed.v1.Open")
        with Connection(far.port) as stranger:  # and over a bridge
            stranger.call(1, raw, service="sealed.v1.Open")
            (item, payload), = agent.invoked()[0]
            equal(payload, raw, "not a byte is another on the other side")
            agent.answer(item["call"], payload)
            equal(stranger.answers()[0][1], raw, "nor on the way back")


main([vlm_v06_add_one_found_over_two_brokers_on_one_machine, vlm_v08_who_is_behind_a_gateway_reaches_the_agent_and_back,
      vlm_v08_entries_go_with_either_link_and_come_back, a_bridge_passes_events_on_and_each_arrives_once,
      what_cannot_be_a_bridge_says_why, a_bridge_shows_who_it_is_at_either_end,
      plexo_p10_one_identity_of_a_type_though_a_link_breaks_before_the_confirm,
      plexo_p10_also_from_behind_a_bridge_that_breaks, vlm_v27_what_is_encrypted_end_to_end_passes_unread_and_unchanged])
