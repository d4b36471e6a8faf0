#!/usr/bin/env python3
"""TLS as strangers meet it: openssl and GnuTLS against the broker, openssl against the clients, certificates good and bad.

Usage: scenarios_tls.py BUILD_DIR [TEST...]. The certificates are those of tests/tls/make_certs.sh, in BUILD_DIR/tests/certs."""

import os
import re
import shutil
import socket
import ssl
import subprocess

from broker import BUILD, HILLOCK, HILLOCKD, FAST, Process, WAIT_S, contains, equal, main, wait_until

CERTS = (BUILD / "tests" / "certs").resolve()
CA = CERTS / "ca.pem"


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


def a_session_is_resumed_by_ticket_only_where_clients_show_no_certificate(scratch):
    broker = Broker(scratch)
    ticket = scratch / "ticket"
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", "-CAfile", CA, "-sess_out", ticket],
                          stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        wait_until(ticket.exists, "a ticket")
        child.communicate(b"")
    contains(s_client(broker.port, "-sess_in", ticket), "Reused, TLSv1.3")
    (scratch / "mutual").mkdir()
    mutual = Broker(scratch / "mutual", **MUTUAL)
    with ssl_client(mutual, "client") as client:
        client.settimeout(0.5)
        try:
            client.recv(1)
        except socket.timeout:
            pass
        equal(client.session.has_ticket, False, "a ticket of a broker that knows its clients by certificate")


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
          a_session_is_resumed_by_ticket_only_where_clients_show_no_certificate,
          a_server_that_is_not_what_it_should_be_is_refused_with_reason_and_alert,
          a_client_that_is_not_what_it_should_be_is_refused_with_reason_and_alert, what_does_not_speak_the_same_is_told_so,
          an_end_without_close_notify_is_counted_as_a_cut, a_reload_under_load_costs_no_task_and_no_connection,
          a_certificate_that_no_client_would_take_does_not_start])
