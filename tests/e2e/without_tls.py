#!/usr/bin/env python3
"""A build without TLS (-DHILLOCK_TLS=OFF): it says so wherever somebody wants it, needs no wolfSSL, and does all the rest.

Usage: without_tls.py BUILD_DIR [TEST...]."""

import subprocess

from broker import HILLOCK, HILLOCKD, FAST, Process, WAIT_S, contains, equal, main


def run(*args, status):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False)
    equal(done.returncode, status, f"{args}: {done.stderr}")
    return done.stdout + done.stderr


def nothing_of_it_needs_wolfssl(_scratch):
    for program in (HILLOCK, HILLOCKD):
        equal("wolfssl" in run("ldd", program, status=0), False, f"{program} needs wolfSSL")


def whoever_wants_tls_is_told_at_once(scratch):
    said = run(HILLOCK, "--server", "tls://localhost:1", "stats", status=5)
    contains(said, 'url "tls://localhost:1": this library was built without TLS')
    config = scratch / "tls.conf"
    for line in ('listen = {"tls://127.0.0.1:0"}', 'tls_cert = "/none.pem"\ntls_key = "/none.key"'):
        config.write_text(line + "\n")
        contains(run(HILLOCKD, "--data", scratch / "data", "--config", config, status=1), "built without TLS")


def a_task_goes_its_way_all_the_same(scratch):
    config = scratch / "plain.conf"
    config.write_text("".join(f"{key} = {value}\n" for key, value in {**FAST, "listen": '{"tcp://127.0.0.1:0"}'}.items()))
    broker = Process([HILLOCKD, "--data", scratch / "data", "--config", config])
    server = ["--server", f"tcp://127.0.0.1:{broker.wait_for(r'ready: listening on tcp://127.0.0.1:([0-9]+)').group(1)}"]
    worker = Process([HILLOCK, *server, "work", "kind", "--exec", "cat", "--count", "1"])
    contains(run(HILLOCK, *server, "submit", "kind", "--payload", "its payload", "--wait", status=0), "its payload")
    equal(worker.end(), 0, worker.text)


if __name__ == "__main__":
    main([nothing_of_it_needs_wolfssl, whoever_wants_tls_is_told_at_once, a_task_goes_its_way_all_the_same])
