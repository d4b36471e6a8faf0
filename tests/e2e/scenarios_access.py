#!/usr/bin/env python3
"""Who may do what, against a real broker: from open to closed, tokens, vnets, what is refused.

Usage: scenarios_access.py BUILD_DIR [TEST...]"""

import json
import os
import signal
import subprocess

from broker import Broker, HILLOCK, HILLOCKD, Process, WAIT_S, contains, equal, main, offline
from wire import CODES, Connection


class Realm:
    """A broker that was closed: ops may do all, ann is in vnet a, bob in vnet b."""

    def __init__(self, scratch, **settings):
        self.scratch, self.settings = scratch, settings
        self.broker = Broker(scratch / "data", **settings)
        self.secrets = {"ops": self.broker.ask("principal", "add", "ops", "--admin", "--with-token")["secret"]}
        for name, vnet in (("ann", "a"), ("bob", "b")):
            self.secrets[name] = json.loads(self.as_("ops", "principal", "add", name, "--vnets", vnet, "--with-token",
                                                     "-o", "json"))["secret"]

    def as_(self, who, *args, status=0):
        """A run of hillock as this principal; the token is in a file."""
        path = self.scratch / f"{who}.token"
        path.write_text(self.secrets[who] + "\n")
        done = subprocess.run([str(HILLOCK), "--server", self.broker.url, "--token-file", str(path), *map(str, args)],
                              capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False)
        if status is not None and done.returncode != status:
            raise AssertionError(f"{who}: {args}: exit {done.returncode}, want {status}\n{done.stdout}{done.stderr}")
        return done.stdout if status == 0 else done

    def dial(self, who, **more):
        return Connection(self.broker.port, token=self.secrets[who], **more)

    def again(self):
        self.broker.end(signal.SIGKILL)
        self.broker = Broker(self.scratch / "data", **self.settings)


def code_of(message):
    return message["code"] or 0


def declare(connection, *entries):
    connection.send("SERVE", entries=list(entries))
    equal(code_of(connection.ask("QueueList")), 0, "served")


def an_open_broker_listens_on_loopback_only(scratch):
    done = offline("--data", scratch / "data", "--listen", "tcp://*:0")
    equal(done.returncode, 1, "exit")
    contains(done.stderr, "no principal")
    broker = Broker(scratch / "data", log_level="warn")
    contains(broker.text, "there is no principal")
    equal(broker.end(signal.SIGTERM), 0, "exit")


def the_first_principal_closes_the_broker_at_once(scratch):
    broker = Broker(scratch / "data")
    with Connection(broker.port) as there:
        secret = broker.ask("principal", "add", "ops", "--admin", "--with-token")["secret"]
        equal(there.expect("GOODBYE")["code"], CODES["PERMISSION"], "goodbye")
    done = broker.run("queue", "ls", status=5)
    contains(done.stderr, "PERMISSION")
    with Connection(broker.port, token=secret) as ops:
        equal(code_of(ops.ask("PrincipalRemove", name="ops")), CODES["WRONG_STATE"], "the last one")


def a_worker_with_a_token_works_in_its_own_vnet(scratch):
    realm = Realm(scratch)
    task = json.loads(realm.as_("ann", "submit", "demo.v1.Upper", "--payload", "hello", "-o", "json"))["id"]
    realm.as_("bob", "submit", "demo.v1.Upper", "--payload", "not for ann")
    worker = Process([HILLOCK, "--server", realm.broker.url, "--token-file", scratch / "ann.token", "work", "demo.v1.Upper",
                      "--exec", "tr a-z A-Z", "--count", "1"])
    equal(worker.end(), 0, "the worker's exit")
    contains(realm.as_("ann", "task", "wait", task), "HELLO")
    equal(json.loads(realm.as_("bob", "queue", "show", "demo.v1.Upper", "-o", "json"))["ready"], 1, "bob's waits")


def the_users_of_a_unix_socket_are_known(scratch):
    config = scratch / "c.conf"
    sock = scratch / "s"
    config.write_text('listen = {"tcp://127.0.0.1:0", "unix://%s"}\n' % sock)
    process = Process([HILLOCKD, "--data", scratch / "data", "--config", config])
    process.wait_for(r"listening on unix")
    run = lambda *args: subprocess.run([str(HILLOCK), "--server", f"unix://{sock}", *args], capture_output=True, text=True,
                                       timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False)
    equal(run("principal", "add", "ann", "--vnets", "a").returncode, 0, "add")
    equal(run("principal", "ls").returncode, 0, "its own user goes on as local")
    url = process.wait_for(r"listening on (tcp://\S+)").group(1)
    done = subprocess.run([str(HILLOCK), "--server", url, "principal", "ls"], capture_output=True, text=True, timeout=WAIT_S, check=False)
    equal(done.returncode, 5, "over TCP it is nobody")


def vlm_v26_wrong_and_right_credentials(scratch):
    """The wrong one gets one refusal, the right one a session, from the same client."""
    realm = Realm(scratch)
    realm.secrets["eve"] = realm.secrets["ann"][:-1] + ("0" if realm.secrets["ann"][-1] != "0" else "1")
    contains(realm.as_("eve", "queue", "ls", status=5).stderr, "not accepted")
    realm.as_("ann", "queue", "ls")
    words = set()
    for token in (realm.secrets["eve"], "", "x", "hlk1_" + "0" * 16 + "_" + "0" * 64, "hla1_00_" + "0" * 64):
        connection = Connection(realm.broker.port, hello=False)
        connection.send("HELLO", versions=[1], session=os.urandom(16), client="eve", token=token)
        error = connection.expect("ERROR")
        equal((error["code"], error["fatal"]), (CODES["PERMISSION"], True), token[:5])
        words.add(error["text"])
    equal(len(words), 1, "ways to say no")


def a_token_is_rotated_with_overlap_and_revoked(scratch):
    realm = Realm(scratch)
    number = json.loads(realm.as_("ops", "token", "ls", "ann", "-o", "json"))[0]["token"]
    old = realm.secrets["ann"]
    new = json.loads(realm.as_("ops", "token", "rotate", number, "--overlap", "1h", "-o", "json"))
    realm.as_("ann", "queue", "ls")
    realm.secrets["ann"] = new["secret"]
    with realm.dial("ann") as live:
        live.ask("QueueList")
        realm.as_("ops", "token", "rm", new["token"])
        equal(live.expect("GOODBYE")["code"], CODES["PERMISSION"], "goodbye of a live session")
    realm.as_("ann", "queue", "ls", status=5)
    realm.secrets["ann"] = old
    realm.as_("ann", "queue", "ls")
    realm.as_("ops", "token", "rotate", number, "--overlap", "0s", "-o", "json")
    realm.as_("ann", "queue", "ls", status=5)


def rekuest_10_an_unauthorised_app_is_refused_everything(scratch):
    realm = Realm(scratch)
    with realm.dial("ann", client="worker-a") as ann, realm.dial("bob") as bob:
        ann.submit(1, 1, [b"secret"], type="job", want_result=True)
        task = ann.confirms(1)[0]["first_task"]
        declare(ann, {"id": 1, "service": "add"}, {"id": 2, "service": "job", "credit": 1})
        lease = ann.delivery()
        address = ann.welcome["address"]
        # see the type: not in the directory, not in lists, not as a queue
        equal(bob.look(), [], "directory")
        equal([bob.ask(verb)["queues"] or bob.ask(verb)["workers"] or [] for verb in ("QueueList", "WorkerList")], [[], []], "lists")
        equal(code_of(bob.ask("QueueShow", name="job")), CODES["NOT_FOUND"], "queue")
        # call it, by service and by address
        bob.call(1, service="add")
        equal(bob.answers()[0][0]["code"], CODES["NOT_DELIVERED"], "by service")
        bob.call(2, session=address, entry=1, type="t")
        equal(bob.answers()[0][0]["code"], CODES["NOT_DELIVERED"], "by address")
        # serve it: bob's entry of the same name gets nothing of ann's
        bob.serve("job")
        ann.submit(1, 2, [b"more"], type="job")
        ann.confirms(1)
        equal(bob.receive(("DELIVER",), 0.2), None, "delivery")
        # read or cancel a task by its id, as one that never was
        for verb in ("TaskShow", "TaskPeek", "TaskCancel", "TaskTree", "TaskWhy"):
            foreign, never = bob.ask(verb, tasks=[task]), bob.ask(verb, tasks=[task + 10000])
            equal((foreign["code"], foreign["text"]), (never["code"], never["text"]), verb)
            equal(foreign["code"], CODES["NOT_FOUND"], verb)
        bob.send("AWAIT", tasks=[task])
        equal(bob.results(1)[task][0]["code"], CODES["NOT_FOUND"], "await")
        # report on another's task; kick its worker
        bob.report("Complete", lease["ref"], b"forged")
        equal(bob.expect("REPORTED")["items"][0]["code"], CODES["STALE_LEASE"], "report")
        equal(code_of(bob.ask("WorkerKick", name="worker-a")), CODES["NOT_FOUND"], "kick")
        equal(code_of(bob.ask("WorkerKick", name=f"{address:x}")), CODES["NOT_FOUND"], "kick by number")
        # principals, rules: refused, the session is up
        equal(code_of(bob.ask("PrincipalList")), CODES["PERMISSION"], "principals")
        equal(code_of(bob.ask("QueueList")), 0, "the session is up")
        ann.settle("Complete", lease["ref"], b"done")


def vlm_v24_a_third_party_removes_no_entry(scratch):
    realm = Realm(scratch)
    realm.as_("ops", "acl", "add", "deny", "ann", "control", "*", "--vnet", "a")
    realm.as_("ops", "principal", "add", "ann2", "--vnets", "a")
    with realm.dial("ann", client="holder") as ann, realm.dial("ann", client="other") as other:
        declare(ann, {"id": 1, "service": "add"})
        declare(other)
        equal(code_of(other.ask("WorkerKick", name="holder")), CODES["PERMISSION"], "kick")
        equal([entry["entry"]["service"] for entry in other.look()], ["add"], "still there")
    contains(realm.as_("ops", "acl", "test", "ann", "control", "q", "--vnet", "a", status=5).stdout, "a rule")
    contains(realm.as_("ops", "acl", "test", "ann2", "control", "q", "--vnet", "a"), "own vnet")
    contains(realm.as_("ops", "acl", "test", "ann2", "see", "q", "--vnet", "b", status=5).stdout, "no rule")


def all_of_it_survives_kill_9(scratch):
    realm = Realm(scratch)
    realm.as_("ops", "acl", "add", "deny", "ann", "serve", "*", "--vnet", "a")
    for _ in range(2):
        realm.again()
        realm.as_("ann", "queue", "ls")
        equal(realm.broker.run("queue", "ls", status=5).returncode, 5, "nobody")
        rules = json.loads(realm.as_("ops", "acl", "ls", "-o", "json"))
        equal(len([r for r in rules if r["principal"] == "ann" and r["effect"] == "deny"]), 1, "the rule")
        realm.as_("ops", "checkpoint")


def limits_of_a_principal_survive_kill_9_and_are_told(scratch):
    realm = Realm(scratch)
    realm.as_("ops", "principal", "set", "ann", "--limit", "sessions=1", "--limit", "bytes-rate=none")
    contains(realm.as_("ops", "principal", "set", "ann", "--limit", "beauty=1", status=1).stderr, "no limit of beauty")
    realm.as_("ops", "principal", "set", "ann", "--limit", "sessions=many", status=1)
    realm.again()
    with realm.dial("ann"), realm.dial("ops") as ops:
        ops.send("SUBSCRIBE", subscription=1, pattern="hillock.sys.limit.principal", unlimited=True)
        ops.expect("SUBSCRIBED")
        second = Connection(realm.broker.port, hello=False)
        second.send("HELLO", versions=[1], session=os.urandom(16), client="second", token=realm.secrets["ann"])
        refused = second.expect("ERROR")
        equal((refused["code"], refused["retry_after_ms"]), (CODES["RESOURCE_EXHAUSTED"], 1000), "one session more")
        contains(refused["text"], "its limit of sessions")
        contains(ops.expect("EVENTS").payload.decode(), '"principal":"ann","limit":"sessions","max":1')
        shown = json.loads(realm.as_("ops", "principal", "show", "ann", "-o", "json"))[0]
        equal((shown["limits"], "sessions=1" in shown["used"]), ("sessions=1,bytes-rate=none", True), "shown")
        realm.as_("ops", "principal", "set", "ann", "--limit", "sessions=default")
        realm.as_("ann", "queue", "ls")
    realm.broker.end(signal.SIGTERM)
    contains((scratch / "data" / "audit.log").read_text(), '"who":"ann","from":"127.0.0.1')


def a_secret_is_nowhere_but_in_the_answer(scratch):
    realm = Realm(scratch)
    realm.as_("ann", "queue", "ls")
    realm.as_("ops", "checkpoint")
    realm.broker.end(signal.SIGTERM)
    audit = (scratch / "data" / "audit.log").read_text()
    contains(audit, '"what":"principal add","outcome":"ok"')
    contains(audit, '"who":"ann"')
    for name, secret in realm.secrets.items():
        part = secret.split("_")[2].encode()
        for path in (scratch / "data").iterdir():
            if path.is_file():
                raw = path.read_bytes()
                equal(part in raw or bytes.fromhex(part.decode()) in raw, False, f"{name} in {path.name}")
        equal(part.decode() in realm.broker.text, False, f"{name} in the event lines")


main([an_open_broker_listens_on_loopback_only, the_first_principal_closes_the_broker_at_once, the_users_of_a_unix_socket_are_known,
      a_worker_with_a_token_works_in_its_own_vnet,
      vlm_v26_wrong_and_right_credentials, a_token_is_rotated_with_overlap_and_revoked,
      rekuest_10_an_unauthorised_app_is_refused_everything, limits_of_a_principal_survive_kill_9_and_are_told, vlm_v24_a_third_party_removes_no_entry, all_of_it_survives_kill_9,
      a_secret_is_nowhere_but_in_the_answer])
