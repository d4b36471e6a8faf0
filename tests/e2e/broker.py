"""What the end-to-end tests share: brokers and other processes, conditions with deadlines, and the list of tests.

A test program calls main(tests). Every process it starts listens on loopback alone and is gone when its test ends."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

WAIT_S = 30
BUILD = pathlib.Path(sys.argv[1])
HILLOCKD, HILLOCK, EXAMPLES = BUILD / "hillockd", BUILD / "hillock", BUILD
# Everything that tests wait for is short; what must not happen by itself is long.
FAST = {"heartbeat": "1s", "session_grace": "200ms", "cancel_grace": "300ms", "queue_backoff_min": "1ms",
        "queue_backoff_max": "2ms", "queue_retention": "1h", "stop_timeout": "1s"}
# The directory of certificates where all of it is to go over TLS (HILLOCK_E2E_TLS=BUILD_DIR/tests/certs), else "".
TLS = os.environ.get("HILLOCK_E2E_TLS", "")
if TLS:
    os.environ["HILLOCK_TLS_CA"] = f"{TLS}/ca.pem"
    FAST |= {"tls_cert": f'"{TLS}/server.pem"', "tls_key": f'"{TLS}/server.key"'}
SCHEME = "tls" if TLS else "tcp"
started = []


class Skip(Exception):
    """What the test needs is not there."""


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def contains(text, part):
    if part not in text:
        raise AssertionError(f"{part!r} is not in:\n{text}")


def wait_until(condition, what, wait_s=WAIT_S):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + wait_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.01)


class Process:
    """A child whose standard error is read line by line; its standard output goes to a file."""

    def __init__(self, args, **more):
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.PIPE, start_new_session=True, **more)
        started.append(self)
        self.text = ""

    def wait_for(self, pattern, wait_s=WAIT_S):
        """The match of a pattern in what it says on standard error, now or within wait_s."""
        end = time.monotonic() + wait_s
        while True:
            match = re.search(pattern, self.text)
            if match:
                return match
            ready, _, _ = select.select([self.process.stderr], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self.process.stderr.fileno(), 65536).decode(errors="replace") if ready else ""
            if not chunk:
                raise AssertionError(f"{pattern!r} never came; it said:\n{self.text}")
            self.text += chunk

    def end(self, number=None):
        """Sends a signal, if any, and waits. The exit status."""
        if number is not None:
            self.process.send_signal(number)
        if not self.process.stderr.closed:
            self.text += self.process.stderr.read().decode(errors="replace")
        status = self.process.wait(WAIT_S)
        self.process.stderr.close()
        return status

    def kill_group(self):
        """It and its children, with no chance to say anything."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(WAIT_S)

    def output(self):
        self.out.seek(0)
        return self.out.read().decode(errors="replace")


class Broker(Process):
    """hillockd on a free port, or on this one. settings: keys of its configuration file."""

    def __init__(self, data, before=(), port=0, **settings):
        self.data = pathlib.Path(data)
        config = self.data.parent / f"{self.data.name}.conf"
        config.write_text("".join(f"{key} = {value}\n" for key, value in {**FAST, **settings}.items()))
        super().__init__([*before, HILLOCKD, "--data", data, "--config", config, "--listen", f"{SCHEME}://127.0.0.1:{port}"])
        self.port = int(self.wait_for(SCHEME + r"://127\.0\.0\.1:(\d+)\n").group(1))
        self.url = f"{SCHEME}://127.0.0.1:{self.port}"

    def run(self, *args, status=0):
        """A run of the hillock command against this broker; its standard output, parsed where it is JSON."""
        done = subprocess.run([str(HILLOCK), "--server", self.url, *map(str, args)], capture_output=True, text=True,
                              timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False)
        if status is not None and done.returncode != status:
            raise AssertionError(f"hillock {args}: exit {done.returncode}, want {status}\n{done.stdout}{done.stderr}")
        if status != 0:
            return done
        return json.loads(done.stdout) if "json" in args else done.stdout

    def ask(self, *args):
        return self.run(*args, "-o", "json")

    def worker(self, kind, command, *args):
        return Process([HILLOCK, "--server", self.url, "work", kind, "--exec", command, *args])

    def memory(self):
        """Resident bytes. 0 under a sanitizer, which keeps what was freed: there memory is not looked at."""
        if os.environ.get("HILLOCK_SANITIZE"):
            return 0
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def at_the_same_time(*jobs):
    """Runs them in threads that begin together; raises what one of them raised."""
    gate, raised = threading.Barrier(len(jobs)), []

    def run(job):
        try:
            gate.wait()
            job()
        except Exception as error:  # told to the test
            raised.append(error)
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def offline(*args):
    """hillockd with a command for a directory at rest."""
    return subprocess.run([str(HILLOCKD), *map(str, args)], capture_output=True, text=True, timeout=WAIT_S,
                          stdin=subprocess.DEVNULL, check=False)


def refused_start(data, **settings):
    """Starts a broker that must not come up; (exit status, what it said)."""
    config = pathlib.Path(str(data) + ".conf")
    config.write_text("".join(f"{key} = {value}\n" for key, value in {**FAST, **settings}.items()))
    done = offline("--data", data, "--config", config, "--listen", "tcp://127.0.0.1:0")
    return done.returncode, done.stderr


def main(tests):
    """Runs the tests named on the command line, or all; exits 77 where everything was skipped."""
    chosen = [t for t in tests if not sys.argv[2:] or t.__name__ in sys.argv[2:]]
    failed = skipped = 0
    for test in chosen:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="hillock_e2e_") as directory:
            try:
                test(pathlib.Path(directory))
                print(f"ok      {test.__name__} {time.monotonic() - begun:.2f}s", flush=True)
            except Skip as why:
                skipped += 1
                print(f"skipped {test.__name__}: {why}", flush=True)
            except Exception as error:  # a defect of the test is a failure of the test
                failed += 1
                print(f"FAILED  {test.__name__}: {type(error).__name__} {error}", flush=True)
                traceback.print_tb(error.__traceback__)
            finally:
                for process in started:
                    process.kill_group()
                    process.process.stderr.close()
                    process.out.close()
                started.clear()
    print(f"{len(chosen) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 77 if skipped == len(chosen) else 0)
