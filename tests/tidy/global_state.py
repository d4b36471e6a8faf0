#!/usr/bin/env python3
"""No state outside a struct: objects of wire/, storage/, broker/ and clientlib/ have no writable variables of file scope.

Usage: global_state.py BUILD_DIR. Reads the symbols of the objects (nm), so nothing can hide behind a macro. Constant tables
of pointers are relocated once at start (.data.rel.ro) and are fine."""

import pathlib
import re
import subprocess
import sys

import tidy

# A signal handler gets no context: what it must reach is in one struct (broker/main.c).
# wolfSSL's allocators and devices are one for the process and get no context either (wire/tls_crypto.c).
ALLOWED = {("wire", "tls_crypto.c", "library"), ("wire", "tls_crypto.c", "handshakes"), ("wire", "tls_crypto.c", "watched"),
           ("broker", "main.c", "signals"), ("wire", "crc32c.c", "crc_table")}
FOLDERS = ("wire", "storage", "broker", "clientlib")
NOISE = re.compile(r"^(__|_ZN?\d*__|\.L|completed\.|___asan|__asan|__sancov|__odr_asan)|\.cold$")

build = pathlib.Path(sys.argv[1])
findings, looked_at = [], 0
for folder in FOLDERS:
    for path in sorted((build / folder).rglob("*.c.o")):
        if "example" in str(path):
            continue
        looked_at += 1
        source = path.name[:-2]
        symbols = subprocess.run(["nm", "-f", "sysv", path], check=True, capture_output=True, text=True).stdout
        for line in symbols.splitlines():
            parts = [part.strip() for part in line.split("|")]
            if len(parts) < 7 or parts[3] not in ("OBJECT", "TLS"):
                continue
            symbol = re.sub(r"\.\d+$", "", parts[0])
            section = parts[6].split()[0] if parts[6] else ""
            if not re.match(r"^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)", section) or section.startswith(".data.rel.ro"):
                continue
            if NOISE.search(symbol) or (folder, source, symbol) in ALLOWED:
                continue
            findings.append(f"{folder}/{source}: {symbol} is writable state of file scope ({section})")
tidy.report("global state", findings, looked_at)
