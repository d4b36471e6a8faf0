#!/usr/bin/env python3
"""What users of VLMessaging (V) do with a directory and calls, against a real broker.

Usage: scenarios_directory.py BUILD_DIR [TEST...]. Names begin with the number of the scenario."""

import re
import signal
import time

from broker import HILLOCK, Broker, Process, contains, equal, main, wait_until
from wire import CODES, Connection

ADD_ONE = "math.v1.AddOne"
ADD = "read n; echo $((n + 1))"


def serve(broker, *more, service=ADD_ONE, command=ADD):
    """A process that answers calls, once the broker knows it; its address."""
    process = Process([HILLOCK, "--server", broker.url, "serve", service, "--exec", command, *more])
    return process, process.wait_for(r"serving \S+ at (\S+)\n").group(1)


def ask(broker, *args, status=0):
    return broker.run("call", *args, status=status)


def add_one(holder):
    """Answers what has arrived at a raw connection."""
    items, _ = holder.invoked()
    for item, payload in items:
        holder.answer(item["call"], str(int(payload) + 1).encode())


def answer_of(caller):
    item, payload = caller.answers()[0]
    return item["code"], payload


def vlm_v01_add_one_in_one_process(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:  # one session both asks and answers
        me.declare({"id": 1, "service": ADD_ONE})
        me.call(1, b"41", service=ADD_ONE, deadline_ms=1000)
        add_one(me)
        equal(answer_of(me), (0, b"42"), "answer")


def vlm_v02_and_v03_add_one_across_processes_by_address(scratch):
    broker = Broker(scratch / "data")
    server, address = serve(broker)
    equal(ask(broker, "--address", address, "-p", "41").strip(), "42", "answer")
    equal(server.end(signal.SIGTERM), 0, "the server's end")


def vlm_v05_add_one_found_through_the_directory(scratch):
    broker = Broker(scratch / "data")
    serve(broker, "--param", "precision=64", "--param", "gpu=A100")
    serve(broker, "--param", "precision=32", command="echo wrong")
    found = broker.ask("directory", "resolve", ADD_ONE, "--params", "precision >= 64 && gpu glob \"A*\"")
    equal(len(found), 1, "entries that fit")
    equal(found[0]["params"], 'gpu="A100", precision=64', "its parameters")
    equal(ask(broker, "--address", found[0]["address"], "-p", "41").strip(), "42", "by address")
    equal(ask(broker, ADD_ONE, "--params", "precision == 64", "-p", "41").strip(), "42", "by responsibility")
    refused = ask(broker, ADD_ONE, "--params", "precision = 64", status=5)
    contains(refused.stderr, "position 11: an operator was expected behind precision")


def vlm_v07_another_vnet_is_not_seen(scratch):
    broker = Broker(scratch / "data")
    serve(broker, "--vnet", "test")
    equal(ask(broker, ADD_ONE, "--vnet", "test", "-p", "41").strip(), "42", "in the vnet")
    contains(ask(broker, ADD_ONE, "-p", "41", status=2).stderr, "NOT_DELIVERED")
    equal(broker.ask("directory", "ls"), [], "outside of it")
    address = broker.ask("directory", "ls", "--vnet", "test")[0]["address"]
    contains(ask(broker, "--address", address, status=2).stderr, "NOT_DELIVERED")  # nor reached by a guessed address


def vlm_v09_late_answers_harm_nothing(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as holder, Connection(broker.port) as caller:
        holder.declare({"id": 1, "service": ADD_ONE})
        late = []
        for number in range(1, 6):
            caller.call(number, b"40", service=ADD_ONE, deadline_ms=100)
            late.append(holder.invoked()[0][0][0]["call"])
            equal(answer_of(caller)[0], CODES["TIMEOUT"], "the deadline passes")
            equal(holder.expect("CALL_CANCEL")["calls"], late[-1:], "the holder is told")
        for call in late:
            holder.answer(call, b"41")
        caller.call(6, b"41", service=ADD_ONE)
        add_one(holder)
        equal(answer_of(caller), (0, b"42"), "the next answer")
        equal(caller.round_trip()["answers_late_total"], 5, "late answers")


def vlm_v10_who_has_gone_is_not_delivered_at_once(scratch):
    broker = Broker(scratch / "data")
    holder = Connection(broker.port)
    with Connection(broker.port) as caller:
        holder.declare({"id": 1, "service": ADD_ONE})
        caller.call(1, b"KILL", service=ADD_ONE)
        holder.answer(holder.invoked()[0][0][0]["call"], b"bye")
        equal(answer_of(caller), (0, b"bye"), "the first")
        holder.send("GOODBYE")
        caller.call(2, b"KILL", service=ADD_ONE, deadline_ms=60000)
        begun = time.monotonic()
        equal(answer_of(caller)[0], CODES["NOT_DELIVERED"], "the second")
        assert time.monotonic() - begun < 30, "a minute's deadline was not waited for"
        equal(caller.look(), [], "entries left")


def vlm_v10_a_holder_that_dies_with_the_call_in_work(scratch):
    broker = Broker(scratch / "data", session_grace="1h")
    with Connection(broker.port) as caller:
        for ending in ("goodbye", "cut", "withdrawn"):
            holder = Connection(broker.port)
            holder.declare({"id": 1, "service": ADD_ONE})
            number = ("goodbye", "cut", "withdrawn").index(ending) + 1
            caller.call(number, b"41", service=ADD_ONE, deadline_ms=600000)
            holder.invoked()
            if ending == "goodbye":
                holder.send("GOODBYE")
            elif ending == "cut":
                holder.close()
            else:
                holder.declare()
            item, text = caller.answers()[0]
            equal(item["code"], CODES["NOT_DELIVERED"], ending)
            contains(text.decode(), "holder")
            equal(caller.look(where="")[0]["away"] if ending == "cut" else len(caller.look()), ending == "cut" or number > 2,
                  "the entry after " + ending)


def vlm_v11_a_consumer_recovers_from_a_dead_address(scratch):
    broker = Broker(scratch / "data")
    first, stale = serve(broker)
    first.kill_group()
    serve(broker)
    contains(ask(broker, "--address", stale, "-p", "41", status=2).stderr, "NOT_DELIVERED")
    equal(ask(broker, ADD_ONE, "-p", "41").strip(), "42", "by responsibility")
    broker.end(signal.SIGTERM)
    again = Broker(scratch / "data")
    serve(again)
    contains(ask(again, "--address", stale, status=2).stderr, "NOT_DELIVERED")  # nor after a restart


def vlm_v14_a_round_trip_keeps_everything(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, client="adder") as holder, Connection(broker.port, client="asker") as caller:
        holder.declare({"id": 7, "service": ADD_ONE})
        payload = bytes(range(256)) * 8
        caller.call(5, payload, service=ADD_ONE, type="math.v1.Add", stream=True)
        items, head = holder.invoked()
        equal((items[0][1], head["type"]), (payload, "math.v1.Add"), "what arrives")
        call = items[0][0]["call"]
        for part in (b"one", b"", payload):
            holder.answer(call, part, more=1, app_code=3)
        holder.answer(call, b"end")
        parts = caller.answers(4)
        equal([p for _, p in parts], [b"one", b"", payload, b"end"], "parts, in order")
        equal([i["more"] for i, _ in parts], [1, 1, 1, 0], "the last one")
        equal((parts[0][0]["call"], parts[0][0]["entry"], parts[0][0]["app_code"]), (5, 7, 3), "numbers")
        equal(parts[0][0]["session"], holder.welcome["address"], "who answered")


def vlm_v15_does_not_understand_carries_the_type(scratch):
    broker = Broker(scratch / "data")
    serve(broker, "--type", "math.v1.Add")
    done = ask(broker, ADD_ONE, "--type", "math.v1.Sub", status=5)
    contains(done.stderr, "math.v1.Sub (DOES_NOT_UNDERSTAND)")
    equal(ask(broker, ADD_ONE, "--type", "math.v1.Add", "-p", "41").strip(), "42", "what it understands")


def vlm_v16_and_v18_nobody_there_is_one_not_delivered_each(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as caller:
        for number in range(1, 6):
            caller.call(number, b"x", service="math.v1.Nobody", deadline_ms=60000)
        equal([(i["call"], i["code"]) for i, _ in caller.answers(5)], [(n, CODES["NOT_DELIVERED"]) for n in range(1, 6)], "answers")
        with Connection(broker.port) as holder:  # nothing is delivered late
            holder.declare({"id": 1, "service": "math.v1.Nobody"})
            caller.call(6, b"now", service="math.v1.Nobody")
            equal(holder.invoked()[0][0][1], b"now", "the first thing that arrives")
        equal(caller.round_trip()["calls_not_delivered_total"], 6, "one each")


def vlm_v17_a_closed_session_leaves_nothing_behind(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as me:
        other = Connection(broker.port)
        other.declare(*({"id": n, "service": f"t.S{n}"} for n in range(20)))
        other.send("WATCH", watch=1)
        other.call(1, b"x", service="t.S1", deadline_ms=600000)
        equal(len(me.look()), 20, "entries")
        other.send("GOODBYE")
        wait_until(lambda: me.round_trip()["entries"] == 0, "no entry left")
        equal(me.round_trip()["sessions"], 1, "sessions")


def vlm_v19_ping_pong_finds_the_other_excluding_itself(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, client="ping") as ping, Connection(broker.port, client="pong") as pong:
        for agent, name in ((ping, "ping"), (pong, "pong")):
            agent.declare({"id": 1, "service": "game.v1.Player", "params": f"name={name}"})
        agents, hops, numbers = (ping, pong), 10, [0, 0]
        for hop in range(hops):
            me, other = agents[hop % 2], agents[(hop + 1) % 2]
            numbers[hop % 2] += 1
            me.call(numbers[hop % 2], str(hop).encode(), service="game.v1.Player",
                    where=f'name != "{("ping", "pong")[hop % 2]}"')
            items, _ = other.invoked()
            equal(items[0][1], str(hop).encode(), "hop")
            other.answer(items[0][0]["call"])
            equal(answer_of(me)[0], 0, "answer")


def vlm_v20_a_silent_provider_is_away_and_comes_back(scratch):
    broker = Broker(scratch / "data", session_grace="1h", heartbeat="100ms")
    provider, _ = serve(broker, "--param", "k=1")
    provider.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: broker.run("directory", "resolve", ADD_ONE, status=None).returncode == 2, "away after three intervals")
    equal([row["away"] for row in broker.ask("directory", "ls")], [True], "its entry")
    provider.process.send_signal(signal.SIGCONT)
    wait_until(lambda: broker.run("directory", "resolve", ADD_ONE, status=None).returncode == 0, "there again")
    equal(ask(broker, ADD_ONE, "-p", "41").strip(), "42", "answer")


def vlm_v25_one_ping_gives_exactly_one_answer(scratch):
    broker = Broker(scratch / "data")
    for _ in range(3):
        serve(broker)
    answers = broker.ask("call", ADD_ONE, "--type", "hillock.Ping", "-p", "hello")
    equal([a["answer"] for a in answers], ["hello"], "one holder")
    answers = broker.ask("call", ADD_ONE, "--type", "hillock.Ping", "--all", "-p", "hello")
    equal([a["answer"] for a in answers], ["hello"] * 3, "each of all")
    equal(len({a["address"] for a in answers}), 3, "different ones")


def a_set_is_replaced_as_a_whole_or_not_at_all(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as holder, Connection(broker.port) as me:
        holder.declare({"id": 1, "service": "a", "params": "x=1"}, {"id": 2, "service": "b"})
        me.send("WATCH", watch=1)
        snapshot = me.expect("CHANGES")
        equal((snapshot["begin"], snapshot["end"], len(snapshot["items"])), (True, True, 2), "snapshot")
        holder.send("SERVE", correlation=77, entries=[{"id": 1, "service": "c"}, {"id": 3, "service": "d", "params": "y=="}])
        error = holder.expect("ERROR")
        equal((error["code"], error.correlation, error["fatal"]), (CODES["INVALID_INPUT"], 77, False), "refusal")
        contains(error["text"], "SERVE.entries[1].params: position 3")
        equal(sorted(i["entry"]["service"] for i in me.look()), ["a", "b"], "still there")
        holder.declare({"id": 1, "service": "a", "params": "x=2"}, {"id": 3, "service": "c"})
        seen, at = [], snapshot["revision"]
        while len(seen) < 3:
            changes = me.expect("CHANGES")
            equal(changes["before"], at, "no gap")
            at = changes["revision"]
            seen += [(i["kind"], i["entry"]["service"], i["entry"]["params"]) for i in changes["items"]]
        equal(sorted(seen), [(1, "c", None), (2, "a", "x=2"), (3, "b", None)], "changes")


def no_third_party_answers_or_removes(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as holder, Connection(broker.port) as caller, Connection(broker.port) as thief:
        holder.declare({"id": 1, "service": ADD_ONE})
        thief.declare({"id": 1, "service": "other"})
        caller.call(1, b"41", service=ADD_ONE)
        call = holder.invoked()[0][0][0]["call"]
        thief.answer(call, b"forged")
        thief.declare()
        thief.round_trip()
        holder.answer(call, b"42")
        equal(answer_of(caller), (0, b"42"), "the holder's own answer")
        equal(caller.round_trip()["answers_late_total"], 1, "the forged one is counted")
        equal(len(caller.look(ADD_ONE)), 1, "the entry stays")


def what_is_over_the_capacity_waits_in_line_and_is_served_in_order(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as holder, Connection(broker.port) as caller:
        holder.declare({"id": 1, "service": ADD_ONE, "capacity": 2})
        for number in range(1, 7):
            caller.call(number, str(number).encode(), service=ADD_ONE)
        seen = []
        while len(seen) < 6:
            items, _ = holder.invoked()
            for item, payload in items:
                seen.append(payload)
                holder.answer(item["call"], payload)
        equal(seen, [str(n).encode() for n in range(1, 7)], "order")
        equal([p for _, p in caller.answers(6)], seen, "answers")


def rekuest_08_two_providers_one_leaves(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as caller:
        first, second = Connection(broker.port), Connection(broker.port)
        for holder in (first, second):
            holder.declare({"id": 1, "service": ADD_ONE})
        for number in range(1, 9):
            caller.call(number, b"41", service=ADD_ONE)
        for holder in (first, second):  # work spreads over both
            taken = []
            while len(taken) < 4:
                taken += holder.invoked()[0]
            for item, payload in taken:
                holder.answer(item["call"], payload)
            holder.round_trip()
        equal({i["session"] for i, _ in caller.answers(8)}, {h.welcome["address"] for h in (first, second)}, "who answered")
        first.send("GOODBYE")
        wait_until(lambda: len(caller.look()) == 1, "one is left")
        caller.call(9, b"41", service=ADD_ONE)
        add_one(second)
        equal(answer_of(caller), (0, b"42"), "the other one")
        second.send("GOODBYE")
        wait_until(lambda: not caller.look(), "none is left")
        caller.call(10, b"41", service=ADD_ONE, deadline_ms=600000)
        equal(answer_of(caller)[0], CODES["NOT_DELIVERED"], "at once")


def state_of(owner, wanted):
    """Waits for a binding to be in this state: (state, number of legs)."""
    while True:
        binding = owner.expect("BINDING")
        if binding["state"] == wanted[0] and len(binding["legs"] or []) == wanted[1]:
            return


WAITING, ACTIVE, DEGRADED, ENDED = 1, 2, 3, 4


def rekuest_09_a_reservation_heals(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as owner:
        first, second = Connection(broker.port), Connection(broker.port)
        owner.send("BIND", binding=5, service=ADD_ONE, where="gpu == A100", min=1, desired=2)
        state_of(owner, (WAITING, 0))
        for number in (1, 2, 3):  # they wait in the binding's own line
            owner.call(number, str(number).encode(), binding=5)
        first.declare({"id": 1, "service": ADD_ONE, "params": "gpu=A100"}, {"id": 2, "service": ADD_ONE, "params": "gpu=T4"})
        state_of(owner, (DEGRADED, 1))
        seen = []
        while len(seen) < 3:
            for item, payload in first.invoked()[0]:
                seen.append(payload)
                first.answer(item["call"], payload)
        equal(seen, [b"1", b"2", b"3"], "in order")
        equal([p for _, p in owner.answers(3)], seen, "answers")
        second.declare({"id": 1, "service": ADD_ONE, "params": "gpu=A100"})
        state_of(owner, (ACTIVE, 2))
        first.send("GOODBYE")
        state_of(owner, (DEGRADED, 1))
        second.close()
        state_of(owner, (WAITING, 0))
        owner.call(4, b"4", binding=5, deadline_ms=600000)
        third = Connection(broker.port)
        third.declare({"id": 9, "service": ADD_ONE, "params": "gpu=A100"}, {"id": 10, "service": ADD_ONE, "params": "gpu=A100"})
        state_of(owner, (ACTIVE, 2))
        equal(third.invoked()[0][0][1], b"4", "the call that waited")
        owner.send("UNBIND", binding=5)
        state_of(owner, (ENDED, 0))
        owner.call(5, b"5", binding=5)
        equal(owner.answers()[0][0]["code"], CODES["NOT_DELIVERED"], "after the end")


def a_worker_is_drained_and_kicked_by_the_operator(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port, client="w7") as holder, Connection(broker.port) as caller:
        holder.declare({"id": 1, "service": ADD_ONE, "credit": 5})
        equal(broker.ask("worker", "drain", "w7")["sessions"], 1, "drained")
        equal([i["signal"] for i in holder.expect("SIGNALS")["items"]], [4], "it is told")
        caller.submit(1, 1, [b"x"], type=ADD_ONE)
        caller.confirms(1)
        caller.call(1, b"41", service=ADD_ONE)
        equal(answer_of(caller)[0], CODES["NOT_DELIVERED"], "no new calls")
        holder.round_trip()
        equal([m.kind for m in holder.waiting if m.kind == "DELIVER"], [], "no new tasks")
        number = format(holder.welcome["address"], "x")
        equal(broker.ask("worker", "kick", number, "--reason", "wrong version")["sessions"], 1, "kicked")
        equal(holder.expect("GOODBYE")["text"], "wrong version", "reason")
        equal(caller.look(), [], "its entries")
        broker.run("worker", "kick", "nobody", status=2)


main([a_worker_is_drained_and_kicked_by_the_operator, rekuest_08_two_providers_one_leaves, rekuest_09_a_reservation_heals, vlm_v01_add_one_in_one_process, vlm_v02_and_v03_add_one_across_processes_by_address, vlm_v05_add_one_found_through_the_directory,
      vlm_v07_another_vnet_is_not_seen, vlm_v09_late_answers_harm_nothing, vlm_v10_who_has_gone_is_not_delivered_at_once,
      vlm_v10_a_holder_that_dies_with_the_call_in_work, vlm_v11_a_consumer_recovers_from_a_dead_address,
      vlm_v14_a_round_trip_keeps_everything, vlm_v15_does_not_understand_carries_the_type,
      vlm_v16_and_v18_nobody_there_is_one_not_delivered_each, vlm_v17_a_closed_session_leaves_nothing_behind,
      vlm_v19_ping_pong_finds_the_other_excluding_itself, vlm_v20_a_silent_provider_is_away_and_comes_back,
      vlm_v25_one_ping_gives_exactly_one_answer, a_set_is_replaced_as_a_whole_or_not_at_all, no_third_party_answers_or_removes,
      what_is_over_the_capacity_waits_in_line_and_is_served_in_order])
