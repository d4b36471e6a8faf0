"""A client of Hillock as a stranger would write it: from docs/protocol.md and wire/schema/hillock.fbs alone.

It reads the schema file, so tables need not be listed again: Schema knows fields, defaults, structs and enums; encode() and
decode() are a small FlatBuffers writer and reader; Connection speaks frames. Nothing here looks at the C code."""

import functools
import os
import pathlib
import re
import socket
import ssl
import struct
import time

KINDS = {"HELLO": 1, "WELCOME": 2, "ERROR": 3, "PING": 4, "PONG": 5, "GOODBYE": 6, "SUBMIT": 16, "CONFIRMS": 17, "AWAIT": 18,
         "FORGET": 19, "RESULTS": 20, "UPDATES": 21, "SERVE": 32, "CREDIT": 33, "DELIVER": 34, "REPORT": 35, "REPORTED": 36, "SIGNALS": 37,
         "REQUEST": 48, "REPLY": 49, "WATCH": 64, "UNWATCH": 65, "CHANGES": 66, "CALL": 96, "ANSWER": 97, "INVOKE": 98,
         "SUBSCRIBE": 80, "SUBSCRIBED": 81, "PUBLISH": 83, "PUBLISHED": 84, "EVENTS": 85, "CALL_CANCEL": 99, "BIND": 100, "BINDING": 101, "UNBIND": 102}
NAMES = {number: name for name, number in KINDS.items()}
CODES = {"OK": 0, "MALFORMED": 10, "TOO_BIG": 11, "UNKNOWN_KIND": 12, "VERSION": 13, "NOT_READY": 14, "INVALID_INPUT": 15,
         "INTEGRITY_MISMATCH": 16, "TIMEOUT": 17, "NOT_FOUND": 30, "EXISTS": 31, "QUEUE_FULL": 32, "DISK_FULL": 33,
         "RESOURCE_EXHAUSTED": 34, "STALE_LEASE": 35, "LATE_RESULT": 36, "WRONG_STATE": 37, "STALE_SUBMIT": 38,
         "DUPLICATE_SESSION": 39, "PERMISSION": 40, "UNAVAILABLE": 41, "CANCELLED": 42, "UNSUPPORTED": 43, "NOT_DELIVERED": 44,
         "DOES_NOT_UNDERSTAND": 45, "SCHEMA_MISMATCH": 46, "BLOCKED": 49, "AGAIN": 1, "DISPLACED": 50, "TRANSIENT": 60,
         "PERMANENT": 61, "INTERNAL": 64, "EXPIRED": 65, "LOST": 66}
CODE_NAMES = {number: name for name, number in CODES.items()}
SCALARS = {"bool": "?", "ubyte": "B", "ushort": "H", "uint": "I", "ulong": "Q", "byte": "b", "short": "h", "int": "i",
           "long": "q", "double": "d"}
WAIT_S = 30


class Schema:
    """The tables, structs and enums of a .fbs file, in the part of the language that hillock.fbs uses."""

    def __init__(self, path):
        text = re.sub(r"//[^\n]*", "", pathlib.Path(path).read_text())
        self.enums, self.tables, self.structs = {}, {}, {}
        for name, base, body in re.findall(r"enum (\w+) : (\w+) \{(.*?)\}", text, re.S):
            values, number = {}, 0
            for part in filter(None, (p.strip() for p in body.split(","))):
                label, _, given = part.partition("=")
                number = int(given) if given else number
                values[label.strip()] = number
                number += 1
            self.enums[name] = (base, values)
        for what, name, body in re.findall(r"(table|struct) (\w+) \{(.*?)\}", text, re.S):
            fields = []
            for field, kind, default in re.findall(r"(\w+):([\w\[\]]+)\s*(?:=\s*(-?\d+))?", re.sub(r"\(.*?\)", "", body)):
                fields.append((field, kind, int(default) if default else 0))
            (self.tables if what == "table" else self.structs)[name] = fields

    def scalar(self, kind):
        """The struct letter of a scalar or enum, or None."""
        return SCALARS.get(self.enums[kind][0] if kind in self.enums else kind)

    def layout(self, kind):
        """Of a scalar or struct: [(path, letter, offset)], size, alignment."""
        letter = self.scalar(kind)
        if letter:
            size = struct.calcsize("<" + letter)
            return [((), letter, 0)], size, size
        at, align, leaves = 0, 1, []
        for field, inner, _ in self.structs[kind]:
            parts, size, inner_align = self.layout(inner)
            at = (at + inner_align - 1) // inner_align * inner_align
            leaves += [((field,) + path, letter, at + offset) for path, letter, offset in parts]
            at, align = at + size, max(align, inner_align)
        return leaves, (at + align - 1) // align * align, align


class Writer:
    """A FlatBuffer written front to back: a table first, then what it points to, so every offset is positive."""

    def __init__(self, schema):
        self.schema, self.out = schema, bytearray()

    def pad(self, align, ahead=0):
        self.out += bytes(-(len(self.out) + ahead) % align)

    def point(self, at, to):
        struct.pack_into("<I", self.out, at, to - at)

    def flat(self, kind, value):
        leaves, size, _ = self.schema.layout(kind)
        raw = bytearray(size)
        for path, letter, offset in leaves:
            leaf = value
            for step in path:
                leaf = leaf.get(step, 0) if isinstance(leaf, dict) else leaf
            struct.pack_into("<" + letter, raw, offset, leaf)
        return raw

    def table(self, name, values):
        fields = self.schema.tables[name]
        unknown = set(values) - {field for field, _, _ in fields}
        if unknown:
            raise KeyError(f"{name} has no {unknown}")
        places, at = [0] * len(fields), 4
        for number, (field, kind, _) in enumerate(fields):
            if values.get(field) is None:
                continue
            _, size, align = self.schema.layout(kind) if self.inline(kind) else (0, 4, 4)
            at = (at + align - 1) // align * align
            places[number], at = at, at + size
        vtable = struct.pack(f"<HH{len(fields)}H", 4 + 2 * len(fields), at, *places)
        self.pad(8, len(vtable))
        start = len(self.out) + len(vtable)
        self.out += vtable + struct.pack("<i", len(vtable)) + bytes(at - 4)
        for number, (field, kind, _) in enumerate(fields):
            if not places[number]:
                continue
            here = start + places[number]
            if self.inline(kind):
                raw = self.flat(kind, values[field])
                self.out[here:here + len(raw)] = raw
            else:
                self.point(here, self.child(kind, values[field]))
        return start

    def inline(self, kind):
        return self.schema.scalar(kind) is not None or kind in self.schema.structs

    def child(self, kind, value):
        if kind == "string":
            self.pad(4)
            start, raw = len(self.out), value.encode() if isinstance(value, str) else bytes(value)
            self.out += struct.pack("<I", len(raw)) + raw + b"\0"
            return start
        if not kind.startswith("["):
            return self.table(kind, value)
        inner = kind[1:-1]
        if self.inline(inner):
            align = self.schema.layout(inner)[2]
            self.pad(max(align, 4), 4)
            start = len(self.out)
            self.out += struct.pack("<I", len(value))
            self.out += bytes(value) if inner == "ubyte" else b"".join(bytes(self.flat(inner, v)) for v in value)
            return start
        self.pad(4)
        start = len(self.out)
        self.out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for number, item in enumerate(value):
            self.point(start + 4 + 4 * number, self.child(inner, item))
        return start


def encode(schema, name, values):
    writer = Writer(schema)
    writer.out += bytes(4)
    writer.point(0, writer.table(name, values))
    return bytes(writer.out)


def decode(schema, name, raw):
    """A dictionary of every field of the table; absent ones have their default."""
    def u32(at):
        return struct.unpack_from("<I", raw, at)[0]

    def flat(kind, at):
        leaves, _, _ = schema.layout(kind)
        if schema.scalar(kind):
            return struct.unpack_from("<" + leaves[0][1], raw, at)[0]
        value = {}
        for path, letter, offset in leaves:
            inside = value
            for step in path[:-1]:
                inside = inside.setdefault(step, {})
            inside[path[-1]] = struct.unpack_from("<" + letter, raw, at + offset)[0]
        return value

    def is_flat(kind):
        return schema.scalar(kind) is not None or kind in schema.structs

    def child(kind, at):
        if kind == "string":
            return bytes(raw[at + 4:at + 4 + u32(at)]).decode()
        if not kind.startswith("["):
            return table(kind, at)
        inner, count = kind[1:-1], u32(at)
        if inner == "ubyte":
            return bytes(raw[at + 4:at + 4 + count])
        size = schema.layout(inner)[1] if is_flat(inner) else 4
        places = [at + 4 + size * number for number in range(count)]
        return [flat(inner, p) if is_flat(inner) else child(inner, p + u32(p)) for p in places]

    def table(kind, at):
        vtable = at - struct.unpack_from("<i", raw, at)[0]
        length = struct.unpack_from("<H", raw, vtable)[0]
        value = {}
        for number, (field, inner, default) in enumerate(schema.tables[kind]):
            slot = 4 + 2 * number
            place = struct.unpack_from("<H", raw, vtable + slot)[0] if slot < length else 0
            if is_flat(inner):
                value[field] = flat(inner, at + place) if place else default
            else:
                value[field] = child(inner, at + place + u32(at + place)) if place else None
        return value

    return table(name, u32(0))


def _crc_table():
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        yield value


_CRC = list(_crc_table())


@functools.lru_cache(16)  # a megabyte takes a tenth of a second
def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def padded(raw):
    return raw + bytes(-len(raw) % 8)


SCHEMA = Schema(pathlib.Path(__file__).resolve().parents[2] / "wire" / "schema" / "hillock.fbs")
TABLES = {name: "Ping" if name == "PONG" else "".join(word.capitalize() for word in name.split("_")) for name in KINDS}


def frame(kind, values, payload=b"", correlation=0):
    """The bytes of one frame."""
    meta, payload = padded(encode(SCHEMA, TABLES[kind], values)), padded(payload)
    return struct.pack("<IHHII", len(meta) + len(payload), KINDS[kind], 0, len(meta), correlation) + meta + payload


class Message(dict):
    """The fields of a received message, with .kind, .payload and .correlation beside them."""


class Closed(Exception):
    """The broker has closed the connection."""


class Connection:
    """One connection, blocking with a deadline. PINGs are answered on the way."""

    def __init__(self, port, session=None, resume=False, hello=True, client="e2e", **more):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        if os.environ.get("HILLOCK_E2E_TLS"): # see broker.py
            trust = ssl.create_default_context(cafile=os.environ["HILLOCK_TLS_CA"])
            self.socket = trust.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.session = session or os.urandom(16)
        self.buffer, self.waiting, self.correlation = bytearray(), [], 0
        if hello:
            self.send("HELLO", versions=[1], session=self.session, resume=resume, client=client, **more)
            self.welcome = self.expect("WELCOME")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, kind, payload=b"", correlation=0, **values):
        self.socket.sendall(frame(kind, values, payload, correlation))

    def read(self, deadline):
        """The next message from the socket, or None at the deadline."""
        while True:
            if len(self.buffer) >= 16:
                size, kind, _, meta, correlation = struct.unpack_from("<IHHII", self.buffer)
                if len(self.buffer) >= 16 + size:
                    raw = bytes(self.buffer[16:16 + size])
                    del self.buffer[:16 + size]
                    message = Message(decode(SCHEMA, TABLES[NAMES[kind]], raw[:meta]))
                    message.kind, message.payload, message.correlation = NAMES[kind], raw[meta:], correlation
                    return message
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except socket.timeout:
                return None
            except (ConnectionError, ssl.SSLError) as error:
                raise Closed(str(error)) from error
            if not more:
                raise Closed("end of stream")
            self.buffer += more

    def receive(self, kinds, wait_s=WAIT_S):
        """The first message of one of these kinds, now or within wait_s; None if none came. Others are kept."""
        for number, message in enumerate(self.waiting):
            if message.kind in kinds:
                return self.waiting.pop(number)
        deadline = time.monotonic() + wait_s
        while True:
            message = self.read(deadline)
            if message is None:
                return None
            if message.kind == "PING":
                self.send("PONG", echo=message["echo"], correlation=message.correlation)
            elif message.kind in kinds:
                return message
            elif message.kind != "PONG":
                self.waiting.append(message)

    def expect(self, *kinds, wait_s=WAIT_S):
        message = self.receive(kinds if "ERROR" in kinds else kinds + ("ERROR",), wait_s)
        if message is None:
            raise AssertionError(f"no {kinds} came")
        if message.kind not in kinds:
            raise AssertionError(f"wanted {kinds}, got ERROR {CODE_NAMES.get(message['code'])}: {message['text']}")
        return message

    def round_trip(self):
        """Everything sent before has been handled when this returns."""
        self.correlation += 1
        self.send("REQUEST", correlation=self.correlation, verb=SCHEMA.enums["Verb"][1]["Stats"])
        return {stat["name"]: stat["value"] for stat in self.expect("REPLY")["stats"]}

    def ask(self, verb, **values):
        self.correlation += 1
        self.send("REQUEST", correlation=self.correlation, verb=SCHEMA.enums["Verb"][1][verb], **values)
        return self.expect("REPLY")

    # ---- producer

    def submit(self, producer, first_seq, payloads, resolved_below=1, confirm=0, **head):
        """Sends one SUBMIT; does not wait."""
        body = b"".join(payloads)
        self.send("SUBMIT", body, producer=producer, first_seq=first_seq, resolved_below=resolved_below, confirm=confirm,
                  head=encode(SCHEMA, "TaskHead", head), sizes=[len(p) for p in payloads], crc=crc32c(body))

    def confirms(self, count):
        """The runs that answer `count` submissions."""
        runs = []
        while sum(run["count"] for run in runs) < count:
            runs += self.expect("CONFIRMS")["runs"]
        return runs

    def results(self, count):
        """{task: (item, bytes)} of `count` awaited tasks."""
        found = {}
        while len(found) < count:
            message, at = self.expect("RESULTS"), 0
            for item in message["items"]:
                found[item["task"]] = (item, message.payload[at:at + item["size"]])
                at += item["size"]
        return found

    # ---- directory and calls

    def declare(self, *entries, **more):
        """SERVE with these entries, and waits until the broker has taken it."""
        self.send("SERVE", entries=[dict(entry) for entry in entries], **more)
        self.round_trip()

    def look(self, service="", where="", watch=900):
        """The entries there are now."""
        self.send("WATCH", watch=watch, service=service, where=where, once=True)
        items, end = [], False
        while not end:
            changes = self.expect("CHANGES")
            items += changes["items"] or []
            end = changes["end"]
        return items

    def call(self, number, payload=b"", deadline_ms=10000, type="", **values):
        """Sends one CALL; does not wait."""
        self.send("CALL", payload, first=number, deadline_ms=deadline_ms, sizes=[len(payload)], crc=crc32c(payload),
                  head=encode(SCHEMA, "EventHead", {"type": type or values.get("service") or "call"}), **values)

    def answers(self, count=1):
        """[(item, bytes)] of the next `count` answers, of one frame or several."""
        self.early = getattr(self, "early", [])
        while len(self.early) < count:
            message, at = self.expect("ANSWER"), 0
            for item in message["items"]:
                self.early.append((item, message.payload[at:at + item["size"]]))
                at += item["size"]
        taken, self.early = self.early[:count], self.early[count:]
        return taken

    def invoked(self, wait_s=WAIT_S):
        """The calls of the next INVOKE: [(item, bytes)], its head."""
        message, at, items = self.expect("INVOKE", wait_s=wait_s), 0, []
        for item in message["items"]:
            items.append((item, message.payload[at:at + item["size"]]))
            at += item["size"]
        return items, decode(SCHEMA, "EventHead", message["head"])

    def answer(self, call, payload=b"", **values):
        self.send("ANSWER", payload, items=[{"call": call, "size": len(payload), **values}], crc=crc32c(payload))

    # ---- worker

    def serve(self, service, credit=1, by_queue=False, entry=1):
        self.send("SERVE", entries=[{"id": entry, "service": service, "credit": credit, "by_queue": by_queue}])

    def delivery(self, wait_s=WAIT_S):
        """One delivered task: its token and payload. Frames of several are split."""
        message = self.receive(("DELIVER", "ERROR"), wait_s)
        if message is None:
            return None
        if message.kind == "ERROR":
            raise AssertionError(f"ERROR {message['code']}: {message['text']}")
        tasks, at = [], 0
        for item in message["items"]:
            task = Message(ref={"task": item["task"], "attempt": item["attempt"], "epoch": message["epoch"]},
                           payload=message.payload[at:at + item["size"]], queue=message["queue"],
                           head=decode(SCHEMA, "TaskHead", message["head"]))
            task.kind = "TASK"
            tasks.append(task)
            at += item["size"]
        self.waiting[:0] = tasks[1:]
        return tasks[0]

    def task(self, wait_s=WAIT_S):
        """The next task, also of a frame that brought several."""
        for number, message in enumerate(self.waiting):
            if message.kind == "TASK":
                return self.waiting.pop(number)
        return self.delivery(wait_s)

    def report(self, verb, ref, payload=b"", **values):
        number = SCHEMA.enums["ReportVerb"][1][verb]
        self.send("REPORT", payload, items=[dict(values, ref=ref, verb=number, size=len(payload))], crc=crc32c(payload))

    def settle(self, verb, ref, payload=b"", **values):
        """Reports and returns (code name, state) of the answer."""
        self.report(verb, ref, payload, **values)
        item = self.expect("REPORTED")["items"][0]
        return CODE_NAMES[item["code"]], STATE_NAMES[item["state"]]


STATES = SCHEMA.enums["TaskState"][1]
STATE_NAMES = {number: name for name, number in STATES.items()}
SIGNALS = SCHEMA.enums["Signal"][1]
