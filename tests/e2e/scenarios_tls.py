#!/usr/bin/env python3
"""TLS as strangers meet it: openssl and GnuTLS against the broker, openssl against the clients, certificates good and bad.

Usage: scenarios_tls.py BUILD_DIR [TEST...]. The certificates are those of tests/tls/make_certs.sh, in BUILD_DIR/tests/certs."""

import http.server
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading

from broker import BUILD, HILLOCK, HILLOCKD, FAST, Process, WAIT_S, contains, equal, main, wait_until

CERTS = (BUILD / "tests" / "certs").resolve()
CA = CERTS / "ca.pem"
TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


class Broker(Process):
    """hillockd with a TLS listener and a plain one, its certificate a copy that a test may change."""

    def __init__(self, scratch, cert="server", **settings):
        self.cert, self.key = scratch / "node.pem", scratch / "node.key"
        self.use(cert)
        config = scratch / "tls.conf"
        values = {**FAST, "tls_cert": f'"{self.cert}"', "tls_key": f'"{self.key}"', "listen": '{"tls://127.0.0.1:0", "tcp://127.0.0.1:0"}',
                  **settings}
        config.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        super().__init__([HILLOCKD, "--data", scratch / "data", "--config", config])
        self.port = int(self.wait_for(r"ready: listening on tls://127\.0\.0\.1:(\d+)\n").group(1))
        self.plain = int(self.wait_for(r"ready: listening on tcp://127\.0\.0\.1:(\d+)\n").group(1))

    def use(self, cert):
        shutil.copy(CERTS / f"{cert}.pem", self.cert)
        shutil.copy(CERTS / f"{cert}.key", self.key)

    def hillock(self, *args, server=None, ca=CA, status=0):
        command = [HILLOCK, "--server", server or f"tls://localhost:{self.port}", *(["--tls-ca", ca] if ca else []), *args]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL,
                              check=False)
        equal((done.returncode, done.stderr if status == 0 else ""), (status, ""), f"hillock {args}: {done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def stat(self, name):
        return int(re.search(rf"^{name} +(\d+)", self.hillock("stats", name, server=f"tcp://127.0.0.1:{self.plain}"), re.M).group(1))


MUTUAL = {"tls_ca": f'"{CERTS}/cas.pem"', "tls_crl": f'"{CERTS}/crl.pem"', "tls_verify": "required"}


def s_client(port, *args, keep=0):
    """What `openssl s_client` says; it leaves at once, or stays for at most `keep` seconds to be refused behind the handshake."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(CA), *map(str, args)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        if keep:
            try:
                child.wait(keep) # what it says fits into a pipe
            except subprocess.TimeoutExpired:
                child.kill()
        return child.communicate("", WAIT_S)[0]


def openssl_and_gnutls_complete_handshakes(scratch):
    broker = Broker(scratch)
    said = s_client(broker.port, "-alpn", "hillock/1", "-servername", "localhost", "-verify_hostname", "localhost")
    for part in ("New, TLSv1.3", "ALPN protocol: hillock/1", "Verification: OK"):
        contains(said, part)
    contains(s_client(broker.port), "New, TLSv1.3")
    contains(s_client(broker.port, "-groups", "P-256", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"), "TLS_CHACHA20_POLY1305_SHA256")
    done = subprocess.run(["gnutls-cli", "--x509cafile", str(CA), "--alpn", "hillock/1", "-p", str(broker.port), "localhost"], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=WAIT_S, check=False)
    for part in ("The certificate is trusted", "TLS1.3", "Application protocol: hillock/1", "Handshake was completed"):
        contains(done.stdout, part)


def what_is_older_or_another_protocol_is_refused_with_the_alert(scratch):
    broker = Broker(scratch)
    for version in ("-tls1_2", "-tls1_1", "-tls1"):
        said = s_client(broker.port, version, "-cipher", "ALL:@SECLEVEL=0")
        contains(said, "alert number 70")
        contains(said, "New, (NONE)")
    contains(s_client(broker.port, "-alpn", "h2"), "alert number 120")
    contains(s_client(broker.port, "-groups", "P-521"), "New, (NONE)")
    equal(broker.stat("tls_handshakes_total"), 0, "handshakes")
    equal(broker.stat("tls_failed_total"), 5, "refusals")


def ticket_of(broker, file, *args):
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", "-CAfile", CA, "-sess_out", file, *args],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        wait_until(lambda: file.exists() and b"END SSL" in file.read_bytes(), "a ticket")
        child.communicate(b"")


def a_session_is_resumed_by_ticket_as_who_it_was_until_that_one_is_revoked(scratch):
    broker = Broker(scratch)
    ticket_of(broker, scratch / "ticket")
    contains(s_client(broker.port, "-sess_in", scratch / "ticket"), "Reused, TLSv1.3")
    equal(broker.stat("tls_resumed_total"), 1, "resumed")
    (scratch / "mutual").mkdir()
    crl = scratch / "crl.pem"
    shutil.copy(CERTS / "crl.pem", crl)
    mutual = Broker(scratch / "mutual", **{**MUTUAL, "tls_crl": f'"{crl}"'})
    cert = ["-cert", CERTS / "client-later.pem", "-key", CERTS / "client-later.key", "-cert_chain", CERTS / "client-later.pem"]
    ticket_of(mutual, scratch / "later", *cert)
    contains(s_client(mutual.port, "-sess_in", scratch / "later"), "Reused, TLSv1.3")  # it shows no certificate
    shutil.copy(CERTS / "crl-later.pem", crl)
    mutual.hillock("node", "reload", server=f"tcp://127.0.0.1:{mutual.plain}")
    contains(s_client(mutual.port, "-sess_in", scratch / "later", keep=2), "alert number 116")
    contains(s_client(mutual.port, "-sess_in", scratch / "later", *cert, keep=2), "alert number 44")
    equal(mutual.stat("tls_resumed_total"), 1, "resumed")


def identity(cert):
    return ["--tls-cert", CERTS / f"{cert}.pem", "--tls-key", CERTS / f"{cert}.key"]


def sessions_of_certificates_that_are_revoked_end_at_the_reload_and_no_task_is_lost(scratch):
    crl = scratch / "crl.pem"
    shutil.copy(CERTS / "crl.pem", crl)
    broker = Broker(scratch, **{**MUTUAL, "tls_crl": f'"{crl}"'})
    server = ["--server", f"tls://localhost:{broker.port}", "--tls-ca", CA]
    gate = scratch / "gate"
    os.mkfifo(gate)
    key = os.open(gate, os.O_RDWR)
    workers = {cert: Process([HILLOCK, *server, *identity(cert), "work", kind, "--exec", f"head -c1 < {gate} > /dev/null; cat"])
               for cert, kind in (("client-later", "held"), ("client", "other"))}
    tasks = [Process([HILLOCK, *server, *identity("client"), "submit", kind, "--payload", kind, "--wait"]) for kind in ("held", "other")]
    wait_until(lambda: broker.stat("tasks_leased") == 2, "two tasks that are worked on")
    shutil.copy(CERTS / "crl-later.pem", crl)
    broker.hillock("node", "reload", server=f"tcp://127.0.0.1:{broker.plain}")
    broker.wait_for("tls distrusted .*name=spiffe://example.com/later text=its certificate was revoked")
    workers["client-later"].wait_for("TLS: this client is not trusted any more: its certificate was revoked")
    workers["client-later"].wait_for("our certificate was revoked")
    equal(broker.stat("tls_distrusted_total"), 1, "sessions that ended")
    second = Process([HILLOCK, *server, *identity("client"), "work", "held", "--exec", "cat", "--count", "1"])
    equal(second.end(), 0, second.text)
    os.write(key, b"..")
    for task in tasks:
        equal(task.end(), 0, task.text)
    os.close(key)
    equal(broker.stat("sessions_resumed_total"), 0, "others stayed as they were")


def idle_workers(broker, cert, count):
    """Sessions that serve the queue `cert`, until their standard input is closed."""
    environment = {**os.environ, "HILLOCK_TLS_CA": str(CA), "HILLOCK_TLS_CERT": f"{CERTS}/{cert}.pem", "HILLOCK_TLS_KEY": f"{CERTS}/{cert}.key"}
    workers = subprocess.Popen([BUILD / "tests" / "idle_workers", f"tls://localhost:{broker.port}", str(count), cert], env=environment,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    equal(workers.stdout.readline(), f"ready {count}\n", "workers")
    return workers


def every_session_is_looked_at_at_a_reload_however_many_there_are(scratch):
    crl = scratch / "crl.pem"
    shutil.copy(CERTS / "crl.pem", crl)
    broker = Broker(scratch, **{**MUTUAL, "tls_crl": f'"{crl}"'})
    with idle_workers(broker, "client", 45) as good, idle_workers(broker, "client-later", 45) as bad:
        equal(broker.stat("entries"), 90, "workers")
        shutil.copy(CERTS / "crl-later.pem", crl)
        broker.hillock("node", "reload", server=f"tcp://127.0.0.1:{broker.plain}")
        wait_until(lambda: broker.stat("tls_distrusted_total") == 45, "the end of those that are revoked")
        equal(broker.stat("entries"), 45, "the others")
        for workers in (good, bad):
            workers.stdin.close()
    equal(broker.stat("tls_distrusted_total"), 45, "sessions that ended")


def a_client_comes_back_by_ticket_only_where_nothing_has_changed(scratch):
    broker = Broker(scratch, **MUTUAL)
    plain = f"tcp://127.0.0.1:{broker.plain}"
    own = scratch / "own"
    for end in ("pem", "key"):
        shutil.copy(CERTS / f"client.{end}", f"{own}.{end}")
    worker = Process([HILLOCK, "--server", f"tls://localhost:{broker.port}", "--tls-ca", CA, "--tls-cert", f"{own}.pem", "--tls-key",
                      f"{own}.key", "work", "kind", "--exec", "cat", "--name", "its worker"])

    def kick(resumed):
        handshakes = broker.stat("tls_handshakes_total")
        broker.hillock("worker", "kick", "its worker", server=plain)
        wait_until(lambda: broker.stat("tls_handshakes_total") > handshakes, "the worker again")
        equal(broker.stat("tls_resumed_total"), resumed, "resumed")
        broker.hillock("submit", "kind", "--wait", server=plain)  # it serves again

    wait_until(lambda: broker.stat("entries") == 1, "the worker")
    kick(1)
    for end in ("pem", "key"):
        shutil.copy(CERTS / f"client-dns.{end}", f"{own}.{end}")
    kick(1)
    kick(2)
    broker.hillock("node", "reload", server=plain)
    kick(2)
    worker.kill_group()


def an_ocsp_answer_is_believed_if_it_is_good_and_demanded_if_it_is_required(scratch):
    """openssl plays the broker: ours would keep such answers to itself."""
    cases = [("server", "ocsp-old.der", "the OCSP answer that it showed is no good"), ("server", "ocsp-staple.der", "is no good"),
             ("revoked", "ocsp-revoked.der", "was revoked, as the OCSP answer says"), ("staple", None, "must-staple")]
    for cert, answer, reason in cases:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Process(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", CERTS / f"{cert}.pem", "-cert_chain",
                          CERTS / f"{cert}.pem", "-key", CERTS / f"{cert}.key", "-tls1_3", "-www",
                          *(["-status_file", CERTS / answer] if answer else [])])
        wait_until(lambda: dial(port), "openssl s_server")
        done = subprocess.run([HILLOCK, "--server", f"tls://localhost:{port}", "--tls-ca", CA, "stats"], capture_output=True, text=True,
                              timeout=WAIT_S, check=False)
        equal(done.returncode, 5, f"{cert}: {done.stderr}")
        contains(done.stderr, reason)
        server.kill_group()
    answer = scratch / "answer.der"
    shutil.copy(CERTS / "ocsp-good.der", answer)
    broker = Broker(scratch, tls_ocsp=f'"{answer}"', tls_ca=f'"{CERTS}/cas.pem"')
    broker.hillock("--tls-ocsp-required", "stats")
    equal(broker.stat("tls_ocsp_stapling"), 1, "an answer to show")
    shutil.copy(CERTS / "ocsp-old.der", answer)
    broker.hillock("node", "reload")
    broker.hillock("stats")
    contains(broker.hillock("--tls-ocsp-required", "stats", status=5), "no OCSP answer about its certificate, which is required here")
    equal(broker.stat("tls_ocsp_stapling"), 0, "an answer to show")


class Responder(http.server.BaseHTTPRequestHandler):
    """Asks openssl, which answers for the CA in server.folder."""

    def do_POST(self):
        request, answer = self.server.folder / "request.der", self.server.folder / "answer.der"
        request.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        subprocess.run(["openssl", "ocsp", "-index", "issuer.index", "-rsigner", f"{self.server.signer}.crt", "-rkey",
                        f"{self.server.signer}.key", "-CA", "issuer.crt", "-ndays", "2", "-reqin", request, "-respout", answer],
                       cwd=self.server.folder, check=True, capture_output=True)
        self.send_response(200)
        self.send_header("Content-Type", "application/ocsp-response")
        self.end_headers()
        self.wfile.write(answer.read_bytes())

    def log_message(self, *_args):
        pass


def the_ocsp_answer_is_fetched_renewed_and_replaced_by_a_good_one_alone(scratch):
    ca = scratch / "ca"
    shutil.copytree(CERTS, ca)
    environment = {**os.environ, "OPENSSL_CONF": str(ca / "openssl.cnf")}

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], cwd=ca, env=environment, check=True, capture_output=True)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Responder) as responder:
        responder.folder, responder.signer = ca, "issuer"
        threading.Thread(target=responder.serve_forever, daemon=True).start()
        (ca / "openssl.cnf").write_text((CERTS / "openssl.cnf").read_text() + "\n[leaf]\nsubjectAltName = DNS:localhost\n"
                                        "keyUsage = critical,digitalSignature\nextendedKeyUsage = serverAuth\n"
                                        f"authorityInfoAccess = OCSP;URI:http://127.0.0.1:{responder.server_port}/\n")
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=node", "-keyout", "node.key",
                "-out", "node.csr")
        openssl("ca", "-batch", "-notext", "-name", "ca_issuer", "-extensions", "leaf", "-in", "node.csr", "-out", "node.crt")
        (ca / "node.pem").write_bytes((ca / "node.crt").read_bytes() + (ca / "issuer.crt").read_bytes())
        answer = scratch / "ocsp.der"
        shutil.copy(CERTS / "ocsp-old.der", answer)
        broker = Broker(scratch, tls_ocsp=f'"{answer}"', tls_ca=f'"{ca}/cas.pem"', tls_cert=f'"{ca}/node.pem"', tls_key=f'"{ca}/node.key"')
        contains(broker.hillock("--tls-ocsp-required", "stats", status=5), "no OCSP answer")

        def fetch(reason=None):
            done = subprocess.run([TOOLS / "systemd" / "hillock-ocsp", ca / "node.pem", answer], capture_output=True, text=True, check=False,
                                  env={**os.environ, "PATH": f"{BUILD.resolve()}:{os.environ['PATH']}",
                                       "HILLOCK_OCSP_TIMEOUT_S": "2", "HILLOCK_URL": f"tcp://127.0.0.1:{broker.plain}"}, timeout=WAIT_S)
            equal(done.returncode, 1 if reason else 0, done.stderr)
            contains(done.stderr, reason or "")

        fetch()
        broker.hillock("--tls-ocsp-required", "stats")
        contains(s_client(broker.port, "-status"), "Cert Status: good")
        good = answer.read_bytes()
        responder.signer = "other"
        fetch("Response Verify Failure")
        responder.signer = "issuer"
        openssl("ca", "-name", "ca_issuer", "-revoke", "node.crt")
        fetch("node.pem: revoked")
        responder.shutdown()
    fetch("onnect")
    equal(answer.read_bytes() == good, True, "the answer of before")
    equal(sorted(p.name for p in scratch.iterdir() if p.name.startswith("ocsp")), ["ocsp.der"], "nothing is left")
    broker.hillock("--tls-ocsp-required", "stats")


def a_list_that_is_missing_is_not_fetched_from_where_a_certificate_says(scratch):
    """Whoever has a certificate would have the broker wait for any address. (The sandbox would not let it, where the kernel has one.)"""
    with socket.create_server(("127.0.0.1", 0)) as bait:
        extensions = scratch / "ext"
        extensions.write_text("extendedKeyUsage = clientAuth\nkeyUsage = critical,digitalSignature\n"
                              f"crlDistributionPoints = URI:http://127.0.0.1:{bait.getsockname()[1]}/list.crl\n")
        leaf = scratch / "leaf"
        for command in (f"req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=leaf -keyout {leaf}.key -out {leaf}.csr",
                        f"x509 -req -days 2 -in {leaf}.csr -CA {CERTS}/issuer.crt -CAkey {CERTS}/issuer.key -set_serial 4711 "
                        f"-extfile {extensions} -out {leaf}.crt"):
            subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
        root_only = subprocess.run(["sed", "/END X509 CRL/q", CERTS / "crl.pem"], check=True, capture_output=True, text=True).stdout
        (scratch / "root.crl").write_text(root_only)
        broker = Broker(scratch, **{**MUTUAL, "tls_crl": f'"{scratch}/root.crl"', "sandbox": "false"})
        said = s_client(broker.port, "-cert", f"{leaf}.crt", "-key", f"{leaf}.key", "-cert_chain", CERTS / "issuer.crt", keep=2)
        contains(said, "alert number")
        broker.wait_for("tls failed .*no revocation list")
        bait.settimeout(0)
        try:
            bait.accept()
        except BlockingIOError:
            return
        raise AssertionError("the broker has asked for the list")


def the_configured_ocsp_answer_is_stapled_for_those_who_ask(scratch):
    broker = Broker(scratch, tls_ocsp=f'"{CERTS}/ocsp-good.der"', tls_ca=f'"{CERTS}/cas.pem"')
    said = s_client(broker.port, "-status")
    contains(said, "OCSP Response Status: successful")
    contains(said, "Cert Status: good")
    contains(said, "New, TLSv1.3")
    contains(s_client(broker.port), "New, TLSv1.3")


def ssl_client(broker, cert=None):
    context = ssl.create_default_context(cafile=CA)
    if cert:
        context.load_cert_chain(CERTS / f"{cert}.pem", CERTS / f"{cert}.key")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", broker.port), WAIT_S), server_hostname="localhost")


def a_server_that_is_not_what_it_should_be_is_refused_with_reason_and_alert(scratch):
    """openssl plays the broker: ours does not even start with such certificates."""
    cases = [("expired", "has expired", 45), ("early", "not valid yet", 45), ("elsewhere", "for another name than localhost", 42),
             ("purpose", "for another purpose", 43), ("revoked", "was revoked", 44), ("other-server", "unknown CA", 48),
             ("self-server", "unknown CA", 48)]
    for cert, reason, alert in cases:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Process(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", CERTS / f"{cert}.pem", "-cert_chain",
                          CERTS / f"{cert}.pem", "-key", CERTS / f"{cert}.key", "-tls1_3", "-www"])
        wait_until(lambda: dial(port), "openssl s_server")
        done = subprocess.run([HILLOCK, "--server", f"tls://localhost:{port}", "--tls-ca", CERTS / "cas.pem", "--tls-crl",
                               CERTS / "crl.pem", "stats"], capture_output=True, text=True, timeout=WAIT_S, check=False)
        equal(done.returncode, 5, f"{cert}: {done.stderr}")
        contains(done.stderr, reason)
        try:
            server.wait_for(rf"alert number ({alert}|42)\b")
        finally:
            server.kill_group()


def dial(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def a_client_that_is_not_what_it_should_be_is_refused_with_reason_and_alert(scratch):
    broker = Broker(scratch, **MUTUAL)
    cases = [(None, "showed no certificate", 116), ("client-expired", "expired", 45), ("client-early", "not valid yet", 45),
             ("client-purpose", "another purpose", 43), ("client-revoked", "revoked", 44), ("other-client", "unknown CA", 48),
             ("self-client", "unknown CA", 48)]
    for cert, reason, alert in cases:
        args = ["-cert", CERTS / f"{cert}.pem", "-key", CERTS / f"{cert}.key", "-cert_chain", CERTS / f"{cert}.pem"] if cert else []
        said = s_client(broker.port, *args, keep=2)
        if not re.search(rf"alert number ({alert}|42)\b", said):
            raise AssertionError(f"{cert}: want alert {alert}\n{said}")
        broker.wait_for(rf"tls failed .*{reason}")
    said = broker.hillock("stats", status=5)
    contains(said, "it demands a certificate of us")
    contains(said, "PERMISSION")
    said = broker.hillock("--tls-cert", CERTS / "client-revoked.pem", "--tls-key", CERTS / "client-revoked.key", "stats", status=5)
    contains(said, "our certificate was revoked")
    said = broker.hillock("--tls-cert", CERTS / "client-expired.pem", "--tls-key", CERTS / "client-expired.key", "--timeout", "1s", "stats",
                          status=1)
    contains(said, "certificate: it has expired")
    broker.hillock("--tls-cert", CERTS / "client.pem", "--tls-key", CERTS / "client.key", "stats")


def what_does_not_speak_the_same_is_told_so(scratch):
    broker = Broker(scratch)
    contains(broker.hillock("stats", server=f"tls://localhost:{broker.plain}", status=5), "it does not speak TLS")
    contains(broker.hillock("--timeout", "1s", "stats", server=f"tcp://127.0.0.1:{broker.port}", status=4), "closed by the broker")
    broker.wait_for("tls failed .*it does not speak TLS")
    contains(broker.hillock("--tls-server-name", "elsewhere.example", "stats", status=5), "another name than elsewhere.example")
    broker.hillock("--tls-server-name", "localhost", "stats", server=f"tls://127.0.0.1:{broker.port}")
    contains(broker.hillock("--timeout", "1s", "stats", ca=scratch / "none.pem", status=1), "none.pem: No such file")
    contains(broker.hillock("stats", ca=None, status=5), "unknown CA")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = broker.hillock("--timeout", "6s", "stats", server=f"tls://127.0.0.1:{silent.getsockname()[1]}", status=4)
        contains(said, "no TLS handshake in 5000 ms")


def an_end_without_close_notify_is_counted_as_a_cut(scratch):
    broker = Broker(scratch)
    with ssl_client(broker) as client:
        client.unwrap().close() # both say close_notify
    equal(broker.stat("tls_truncated_total"), 0, "after an end in order")
    with ssl_client(broker) as client:
        client.shutdown(socket.SHUT_WR) # of the stream below: TLS says nothing
        wait_until(lambda: broker.stat("tls_truncated_total") == 1, "a cut that is counted")
    contains(broker.wait_for("tls truncated .*").group(0), "without close_notify")


def a_reload_under_load_costs_no_task_and_no_connection(scratch):
    broker = Broker(scratch)
    server = f"tls://localhost:{broker.port}"
    load = Process([HILLOCK, "--server", server, "--tls-ca", CA, "bench", "task", "--count", "60k", "--size", "128", "-o", "json"])
    wait_until(lambda: broker.stat("conns") >= 3, "the load")
    for number in range(6):
        broker.use("server2" if number % 2 else "server")
        broker.hillock("node", "reload")
        contains(s_client(broker.port), f"CN = {'server2' if number % 2 else 'server'}\n")
    shutil.copy(CERTS / "server.key", broker.key) # not the key of server2
    contains(broker.hillock("node", "reload", status=1), "not the key of the certificate")
    broker.wait_for("tls kept .*not the key of the certificate")
    broker.use("expired")
    contains(broker.hillock("node", "reload", status=1), "it has expired")
    broker.cert.unlink()
    contains(broker.hillock("node", "reload", status=5), "No such file")
    contains(s_client(broker.port), "CN = server2\n")
    equal(load.end(), 0, load.output() + load.text)
    equal(broker.stat("sessions_resumed_total"), 0, "connections that were lost")


def a_certificate_that_no_client_would_take_does_not_start(scratch):
    for cert, reason in (("expired", "it has expired"), ("early", "not valid yet")):
        config = scratch / "bad.conf"
        config.write_text(f'tls_cert = "{CERTS}/{cert}.pem"\ntls_key = "{CERTS}/{cert}.key"\nlisten = {{"tls://127.0.0.1:0"}}\n')
        done = subprocess.run([HILLOCKD, "--data", scratch / "data", "--config", config], capture_output=True, text=True, timeout=WAIT_S,
                              check=False)
        equal(done.returncode, 1, done.stderr)
        contains(done.stderr, reason)


if __name__ == "__main__":
    os.environ.update({name: "" for name in os.environ if name.startswith("HILLOCK_TLS")})
    main([openssl_and_gnutls_complete_handshakes, what_is_older_or_another_protocol_is_refused_with_the_alert,
          the_configured_ocsp_answer_is_stapled_for_those_who_ask,
          a_session_is_resumed_by_ticket_as_who_it_was_until_that_one_is_revoked,
          sessions_of_certificates_that_are_revoked_end_at_the_reload_and_no_task_is_lost,
          every_session_is_looked_at_at_a_reload_however_many_there_are,
          a_client_comes_back_by_ticket_only_where_nothing_has_changed,
          an_ocsp_answer_is_believed_if_it_is_good_and_demanded_if_it_is_required,
          the_ocsp_answer_is_fetched_renewed_and_replaced_by_a_good_one_alone,
          a_list_that_is_missing_is_not_fetched_from_where_a_certificate_says,
          a_server_that_is_not_what_it_should_be_is_refused_with_reason_and_alert,
          a_client_that_is_not_what_it_should_be_is_refused_with_reason_and_alert, what_does_not_speak_the_same_is_told_so,
          an_end_without_close_notify_is_counted_as_a_cut, a_reload_under_load_costs_no_task_and_no_connection,
          a_certificate_that_no_client_would_take_does_not_start])
