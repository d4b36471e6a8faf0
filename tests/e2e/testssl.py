#!/usr/bin/env python3
"""testssl.sh (Debian's package testssl.sh) against a broker whose certificates were made by the recipe of docs/operations.md: it finds nothing
above LOW. Takes two minutes, so it is not among the tests of a commit: run it by hand. Skipped where testssl is not installed.

Usage: testssl.py BUILD_DIR [TEST...]."""

import json
import pathlib
import shutil
import subprocess

from broker import HILLOCKD, FAST, Process, Skip, equal, main

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "operations.md"
HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}


def make_by_the_recipe(folder):
    """What the documentation says, word for word; those who issue for somebody else, too."""
    block = DOCS.read_text().split("Certificates from nothing", 1)[1].split("\n\n", 2)[1]
    commands = "\n".join(line[4:] for line in block.splitlines())
    equal(commands.count("openssl"), 3, "commands of the recipe")
    subprocess.run(["sh", "-e", "-c", commands], cwd=folder, check=True, capture_output=True)


def testssl_finds_nothing_above_low(scratch):
    testssl = shutil.which("testssl") or shutil.which("testssl.sh")
    if not testssl:
        raise Skip("testssl is not installed: apt-get install testssl.sh")
    make_by_the_recipe(scratch)
    config, found = scratch / "tls.conf", scratch / "found.json"
    values = {**FAST, "tls_cert": f'"{scratch}/node.pem"', "tls_key": f'"{scratch}/node.key"', "listen": '{"tls://127.0.0.1:0"}'}
    config.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    broker = Process([HILLOCKD, "--data", scratch / "data", "--config", config])
    port = broker.wait_for(r"ready: listening on tls://127\.0\.0\.1:(\d+)\n").group(1)
    done = subprocess.run([testssl, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1", "--add-ca",
                           scratch / "ca.pem", "--jsonfile", found, f"broker.example:{port}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600, check=False)
    findings = json.loads(found.read_text())
    seen = {finding["id"].split()[0]: finding["severity"] for finding in findings}
    for looked_at in ("TLS1_3", "TLS1_2", "cert_trust", "cert_chain_of_trust", "heartbleed", "CCS", "ticketbleed"):
        if looked_at not in seen:
            raise AssertionError(f"it has not looked at {looked_at}:\n{done.stdout}{done.stderr}")
    equal(seen["TLS1_3"], "OK", "TLS 1.3")
    equal([f"{f['id']} {f['severity']}: {f['finding']}" for f in findings if f["severity"] not in HARMLESS], [], "above LOW")


if __name__ == "__main__":
    main([testssl_finds_nothing_above_low])
