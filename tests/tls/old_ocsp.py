#!/usr/bin/env python3
"""The same OCSP answer as it would have been long ago: old_ocsp.py ANSWER.der RESPONDER.key > OLD.der

openssl makes none that has expired already, and no test can wait for one to expire: the dates are changed and it is signed anew."""

import re
import subprocess
import sys


def head(data, at):
    """(where the content begins, where it ends) of the element at `at`."""
    size, at = data[at + 1], at + 2
    if size & 0x80:
        count = size & 0x7F
        size, at = int.from_bytes(data[at:at + count], "big"), at + count
    return at, at + size


def element(tag, content):
    size = len(content)
    raw = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (raw if size < 0x80 else bytes([0x80 | len(raw)]) + raw) + content


def parts(data):
    """The elements of a sequence's content, whole."""
    at = 0
    while at < len(data):
        _, end = head(data, at)
        yield data[at:end]
        at = end


def inside(data):
    start, end = head(data, 0)
    return data[start:end]


with open(sys.argv[1], "rb") as file:
    status, wrapped = parts(inside(file.read()))
kind, octets = parts(inside(inside(wrapped)))
told, algorithm, _, *certificates = parts(inside(inside(octets)))
dates = iter([b"20200101000000Z", b"20200101000000Z", b"20200201000000Z"]) # produced, this update, next update
told = re.sub(rb"20\d{12}Z", lambda _: next(dates), told)
signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", sys.argv[2]], input=told, capture_output=True, check=True).stdout
basic = element(0x30, told + algorithm + element(0x03, b"\0" + signature) + b"".join(certificates))
sys.stdout.buffer.write(element(0x30, status + element(0xA0, element(0x30, kind + element(0x04, basic)))))
