#!/usr/bin/env python3
"""hillockd as its operator meets it: arguments, configuration, exit codes, signals, and the data directory.

Usage: daemon.py HILLOCKD. Every broker listens on port 0 of loopback and is stopped before the test ends."""

import os
import pathlib
import pwd
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

DAEMON = sys.argv[1]
WAIT_S = 60
OK, USAGE, DATA = 0, 1, 2
started = []


def run(*args):
    return subprocess.run([DAEMON, *map(str, args)], capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in:\n{text}")


class Broker:
    """One hillockd whose standard error is read line by line."""

    def __init__(self, data, *args, env=None):
        self.process = subprocess.Popen([DAEMON, "--data", str(data), "--listen", "tcp://127.0.0.1:0", *map(str, args)],
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=env)
        started.append(self.process)
        self.text = ""

    def wait_for(self, pattern):
        """The match of a pattern in what it says, now or within WAIT_S."""
        end = time.monotonic() + WAIT_S
        while True:
            match = re.search(pattern, self.text)
            if match:
                return match
            ready, _, _ = select.select([self.process.stderr], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self.process.stderr.fileno(), 65536).decode() if ready else ""
            if not chunk:
                raise AssertionError(f"{pattern!r} never came; it said:\n{self.text}")
            self.text += chunk

    def port(self):
        return int(self.wait_for(r"ready: listening on tcp://127\.0\.0\.1:(\d+)\n").group(1))

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.end()

    def end(self):
        self.text += self.process.stderr.read().decode()
        return self.process.wait(WAIT_S)


def help_and_version_say_themselves(_):
    equal(run("--version").stdout, "hillockd 0.1.0\n", "version")
    help_text = run("--help")
    equal(help_text.returncode, OK, "help")
    contains(help_text.stdout, "example: hillockd --data")


def mistakes_on_the_command_line_exit_1(_):
    for args, text in (
        (["--nonsense"], "nonsense"),
        (["serve"], "unknown command 'serve'"),
        (["fsck"], "fsck takes one data directory"),
        (["--listen", "http://x"], "listen: 'http://x' is not tcp://HOST:PORT, tls://HOST:PORT or unix://PATH"),
        (["--config", "/nonexistent"], "/nonexistent: No such file"),
        (["--config", "/"], "/: not a regular file"),
        (["--log-level", "loud"], "log_level: 'loud'"),
    ):
        done = run(*args)
        equal(done.returncode, USAGE, str(args))
        contains(done.stderr, text)
        equal(done.stdout, "", "standard output")


def mistakes_in_the_configuration_name_file_and_line(scratch):
    path = scratch / "c.conf"
    path.write_text("# one\nheartbeat = 10\n")
    done = run("--config", path, "--check-config")
    equal(done.returncode, USAGE, "bad unit")
    contains(done.stderr, f"{path}:2: heartbeat: '10' is not a duration")
    path.write_text("\n\nhartbeat = 10s\n")
    contains(run("--config", path, "--data", scratch / "never").stderr, f"{path}:3: no such option 'hartbeat'")
    equal((scratch / "never").exists(), False, "nothing was made")
    path.write_text("heartbeat = 10s\n")
    equal(run("--config", path, "--check-config").returncode, OK, "good file")
    contains(run("--config", path, "--print-config").stdout, "heartbeat = 10s")


def it_starts_serves_and_stops_on_sigterm_with_0(scratch):
    broker = Broker(scratch / "data")
    with socket.create_connection(("127.0.0.1", broker.port()), WAIT_S):
        pass
    equal((scratch / "data").stat().st_mode & 0o777, 0o700, "mode of the data directory")
    equal(broker.stop(), OK, "exit code")
    again = Broker(scratch / "data")
    again.port()
    equal(again.stop(signal.SIGINT), OK, "exit code of SIGINT after a restart")


def a_unix_socket_is_served_and_named(scratch):
    path = scratch / "h.sock"
    broker = Broker(scratch / "data", "--listen", f"unix://{path}")
    broker.wait_for(re.escape(f"ready: listening on unix://{path}\n"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    equal(broker.stop(), OK, "exit code")


def a_stop_does_not_wait_for_a_silent_connection(scratch):
    broker = Broker(scratch / "data")
    with socket.create_connection(("127.0.0.1", broker.port()), WAIT_S):
        equal(broker.stop(), OK, "exit code")


def a_second_signal_ends_it_at_once_and_loses_nothing(scratch):
    broker = Broker(scratch / "data")
    with socket.create_connection(("127.0.0.1", broker.port()), WAIT_S):  # its end is waited for
        broker.process.send_signal(signal.SIGTERM)
        broker.wait_for("main stopping")
        equal(broker.stop(signal.SIGINT), -signal.SIGINT, "ended by the second one")
    again = Broker(scratch / "data")
    again.port()
    equal(again.stop(), OK, "the next life")


def sighup_changes_nothing_and_is_noted(scratch):
    broker = Broker(scratch / "data")
    broker.port()
    broker.process.send_signal(signal.SIGHUP)
    broker.wait_for(r'info tls reloaded text="no certificate is configured')
    equal(broker.stop(), OK, "exit code")


def a_directory_in_use_is_refused_with_2(scratch):
    broker = Broker(scratch / "data")
    broker.port()
    second = run("--data", scratch / "data", "--listen", "tcp://127.0.0.1:0")
    equal(second.returncode, DATA, "second broker")
    contains(second.stderr, "LOCKED")
    equal(run("fsck", scratch / "data").returncode, DATA, "fsck of a directory in use")
    equal(broker.stop(), OK, "the first one is unharmed")


def a_directory_with_other_files_is_refused_with_2(scratch):
    data = scratch / "data"
    data.write_text("I am a file")
    done = run("--data", data, "--listen", "tcp://127.0.0.1:0")
    equal(done.returncode, DATA, "a file instead of a directory")
    equal(run("--data", scratch / "no" / "such", "--listen", "tcp://127.0.0.1:0").returncode, DATA, "no parent directory")
    equal(run("fsck", scratch / "nothing").returncode, DATA, "fsck of nothing")


def a_damaged_identity_is_refused_with_2_and_never_made_anew(scratch):
    data = scratch / "data"
    broker = Broker(data)
    broker.port()
    equal(broker.stop(), OK, "exit code")
    identity = data / "identity"
    if not identity.exists():
        raise AssertionError(f"no identity file among {sorted(os.listdir(data))}")
    before = identity.read_bytes()
    identity.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    equal(run("--data", data, "--listen", "tcp://127.0.0.1:0").returncode, DATA, "damaged identity")
    identity.unlink()
    equal(run("--data", data, "--listen", "tcp://127.0.0.1:0").returncode, DATA, "missing identity beside a log")
    identity.write_bytes(before)
    back = Broker(data)
    back.port()
    equal(back.stop(), OK, "with its identity back")


def an_address_in_use_exits_1(scratch):
    broker = Broker(scratch / "a")
    port = broker.port()
    second = run("--data", scratch / "b", "--listen", f"tcp://127.0.0.1:{port}")
    equal(second.returncode, USAGE, "address in use")
    contains(second.stderr, str(port))
    equal(broker.stop(), OK, "exit code")


def fsck_and_dump_read_a_directory_at_rest(scratch):
    broker = Broker(scratch / "data")
    broker.port()
    equal(broker.stop(), OK, "exit code")
    checked = run("fsck", scratch / "data")
    equal(checked.returncode, OK, "fsck")
    contains(checked.stdout, "ok")
    equal(run("dump", scratch / "data").returncode, OK, "dump")


def a_broker_killed_with_9_starts_again(scratch):
    broker = Broker(scratch / "data")
    broker.port()
    equal(broker.stop(signal.SIGKILL), -signal.SIGKILL, "exit code")
    again = Broker(scratch / "data")
    again.port()
    equal(again.stop(), OK, "exit code")


def status_of(broker):
    lines = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def once_ready_it_can_gain_no_rights_and_says_where_that_is_switched_off(scratch):
    broker = Broker(scratch / "data", "--listen", f"unix://{scratch}/sock")
    broker.port()
    equal(status_of(broker)["NoNewPrivs"], ["1"], "no new privileges")
    equal(broker.stop(), OK, "exit code")
    equal((scratch / "sock").exists(), False, "the socket, which is not in the data directory, is removed all the same")
    path = scratch / "open.conf"
    path.write_text("sandbox = false\ncore_dumps = true\n")
    broker = Broker(scratch / "data", "--config", path)
    broker.wait_for("no_sandbox text=\"switched off")
    broker.port()
    equal(status_of(broker)["NoNewPrivs"], ["0"], "not given up")
    equal(broker.stop(), OK, "exit code")


def started_as_root_it_becomes_the_user_of_its_configuration(scratch):
    path = scratch / "user.conf"
    path.write_text("user = no-such-user-here\n")
    done = run("--config", path, "--data", scratch / "data")
    equal(done.returncode, USAGE, "unknown user")
    contains(done.stderr, "there is no user no-such-user-here")
    if os.geteuid() != 0:
        return
    scratch.chmod(0o711)
    path.write_text("user = nobody\n")
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    broker = Broker(scratch / "data", "--config", path)
    broker.port()
    status = status_of(broker)
    equal(status["Uid"], [nobody] * 4, "user")
    equal(status["CapEff"], ["0" * 16], "capabilities")
    equal((scratch / "data").stat().st_uid, int(nobody), "whose the data directory is")
    equal(broker.stop(), OK, "exit code")


def where_blobs_are_is_said_and_what_cannot_be_is_refused(scratch):
    broker = Broker(scratch / "data")
    broker.wait_for(r"info blobs ready backend=local")
    equal((scratch / "data/blobs").is_dir(), True, "the directory of blobs")
    equal(broker.stop(), OK, "exit code")
    path, keys = scratch / "c.conf", scratch / "credentials"
    settings = f'blob_backend = s3\nblob_s3_bucket = bucket\nblob_s3_endpoint = "http://127.0.0.1:9"\nblob_s3_credentials = "{keys}"\n'
    for lines, text in (
        ("blob_backend = s3\n", "blob_s3_bucket: blob_backend = s3 needs one"),
        ("blob_backend = gcs\n", "blob_backend: 'gcs' is not local, s3 or none"),
        ("blob_s3_style = dns\n", "blob_s3_style: 'dns' is not path or host"),
        (settings, f"blob_backend: {keys}: No such file"),
        (settings.replace("http:", "s3:"), "blob_backend: the endpoint must be http://HOST"),
    ):
        path.write_text(lines)
        done = run("--config", path, "--data", scratch / "data", "--listen", "tcp://127.0.0.1:0")
        if "no S3" in done.stderr and "no S3" not in text:
            return  # a build without it says so
        equal(done.returncode, USAGE, lines)
        contains(done.stderr, text)
    keys.write_text("aws_access_key_id=AK\naws_secret_access_key=never seen\n".replace(" ", "_"))
    path.write_text(settings)
    broker = Broker(scratch / "data", "--config", path)
    broker.wait_for(r"info blobs ready backend=s3")
    equal(broker.stop(), OK, "exit code")
    equal("never_seen" in broker.text, False, "the secret is in what it says")
    path.write_text("blob_backend = none\n")
    broker = Broker(scratch / "data", "--config", path)
    broker.wait_for(r"info blobs ready backend=none")
    equal(broker.stop(), OK, "exit code")


def systemd_is_told_when_it_is_ready(scratch):
    path = scratch / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(WAIT_S)
        broker = Broker(scratch / "data", env=dict(os.environ, NOTIFY_SOCKET=str(path)))
        equal(notify.recv(100), b"READY=1", "first state")
        equal(broker.stop(), OK, "exit code")
        equal(notify.recv(100), b"STOPPING=1", "last state")


TESTS = [value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == "__main__"
         and value not in (run, equal, contains, status_of, Broker)]
failures = 0
for test in TESTS:
    with tempfile.TemporaryDirectory(prefix="hillock_daemon_") as directory:
        try:
            test(pathlib.Path(directory))
            print(f"ok      {test.__name__}")
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failures += 1
            print(f"FAILED  {test.__name__}: {error}")
        finally:
            for process in started:
                if process.poll() is None:
                    process.kill()
                process.wait()
            started.clear()
print(f"{len(TESTS) - failures} passed, {failures} failed")
sys.exit(1 if failures else 0)
