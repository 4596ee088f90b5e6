#!/usr/bin/python3
"""Runs the suites of others against our servers and, on the same work, against theirs; writes the table into docs/suites.md.

    tests/suites/run.py [--profile release|debug] [--only TEXT] [--dry]

Everything is on 127.0.0.1, ends within its time, and is stopped by its pid. `make suites` builds what this starts. Exit code 1: something failed.
"""
import argparse
import concurrent.futures
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORK = TARGET / "suites"
DOCS = ROOT / "docs/suites.md"
LOOPS = ["tokio", "thread", "glib", "smol", "async-std", "compio", "mio", "calloop"]
# A mode of slowhttptest takes its time: these have sockets of their own kind each.
SLOW_LOOPS = ["tokio", "thread", "glib"]
PYPI = ["grpcio", "grpcio-health-checking", "grpcio-reflection"]


class Failed(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(command, seconds, **more):
    """Runs a program of somebody else's, for so long at most: its exit code and all it says."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                               start_new_session=True, **more)
    try:
        said = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
        raise Failed(f"{Path(command[0]).name}: not through after {seconds} s")
    return process.returncode, said


class Server:
    """A server that listens on a port while this is open. It has to end with one of these codes when it is asked to."""

    def __init__(self, command, port=None, codes=(0,), ready=None, env=None):
        self.command, self.port, self.codes, self.ready = [str(word) for word in command], port, codes, ready
        self.env = {**os.environ, **(env or {})}

    def __enter__(self):
        self.log = open(WORK / f"{Path(self.command[0]).name}-{self.port or 'bus'}.log", "w")
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env)
        end = time.monotonic() + 30
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise Failed(f"{self.command[0]} does not start: {Path(self.log.name).read_text()[-300:]}")
            time.sleep(0.02)
        return self

    def is_ready(self):
        if self.ready:
            return self.ready()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *of_body):
        self.process.terminate()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = f"none within 30 s, {self.process.wait()}"
        self.log.close()
        # What went wrong within goes before.
        if code not in self.codes and not any(of_body):
            raise Failed(f"{Path(self.command[0]).name} ended with {code}")


def program(name):
    path = TARGET / PROFILE / name
    if not path.exists():
        raise Failed(f"{path} is not built: make suites")
    return path


def suite(loop, *more):
    port, health = free_port(), free_port()
    words = ["--http-loop", loop, "--http-port", port, "--health-port", health, *more]
    server = Server([program("suite"), *words], port)
    server.health = health
    return server


def axum():
    port = free_port()
    # It knows no stop: the signal ends it.
    return Server([program("bare-axum"), f"127.0.0.1:{port}"], port, codes=(-signal.SIGTERM,))


# Each suite yields rows: what was run, against what, what came of it, whether that is good.


def h2load():
    subjects = [(f"Interloop on {loop}", lambda loop=loop: suite(loop)) for loop in LOOPS] + [("bare axum", axum)]
    for what, words in [("HTTP/2, 20,000 requests", ["-m", "10"]), ("HTTP/1.1, 20,000 requests", ["--h1"])]:
        for name, server in subjects:
            with server() as server:
                code, said = run(["h2load", "-n", "20000", "-c", "32", *words, f"http://127.0.0.1:{server.port}/"], 300)
            found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
            rate = re.search(r"([\d.]+) req/s", said)
            if not found or not rate:
                raise Failed(f"h2load said {said[-300:]}")
            succeeded, *bad = map(int, found.groups())
            result = f"{succeeded:,} succeeded, {sum(bad)} not; {float(rate[1]):,.0f}/s"
            yield what, name, result, code == 0 and succeeded == 20000


def slowhttptest():
    modes = [
        ("slow heads (-H)", ["-H", "-i", "3"]),
        ("slow bodies (-B)", ["-B", "-i", "3"]),
        ("ranges (-R)", ["-R"]),
        ("slow readers (-X)", ["-X", "-k", "5", "-n", "3"]),
    ]
    subjects = [(f"Interloop on {loop}", lambda loop=loop: suite(loop)) for loop in SLOW_LOOPS] + [("bare axum", axum)]

    def attack(words, server):
        fixed = ["-c", "200", "-r", "200", "-l", "40", "-p", "5", "-u", f"http://127.0.0.1:{server.port}/"]
        return run(["slowhttptest", *words, *fixed], 120)

    for what, words in modes:
        servers = [(name, server()) for name, server in subjects]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for _, server in servers:
                server.__enter__()
            try:
                attacks = [(name, pool.submit(attack, words, server)) for name, server in servers]
                said = [(name, attacked.result()[1]) for name, attacked in attacks]
            finally:
                for _, server in servers:
                    server.__exit__(*sys.exc_info())
        for name, text in said:
            text = re.sub(r"\x1b\[[0-9;]*m", "", text)
            available = re.findall(r"service available:\s*(YES|NO)", text)
            ended, left = re.search(r"Test ended on (\d+)", text), re.findall(r"connected:\s*(\d+)", text)
            if not available or not ended or not left:
                raise Failed(f"slowhttptest said {text[-300:]}")
            rest = f"none of 200 connections left after {ended[1]} s"
            if "No open connections left" not in text:
                rest = f"{left[-1]} of 200 connections open after {ended[1]} s"
            always = "always available" if "NO" not in available else f"unavailable {available.count('NO')} of {len(available)} times"
            # Only ours has to hold: the peer is there to compare.
            good = "NO" not in available or name == "bare axum"
            yield what, name, f"{always}; {rest}", good


def promtool():
    def judged(text):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
        said = " ".join((done.stdout + done.stderr).split())[:200]
        return ("accepted, without a remark" if done.returncode == 0 else f"exit code {done.returncode}: {said}"), done.returncode == 0

    for loop in SLOW_LOOPS:
        with suite(loop) as server:
            run(["h2load", "-n", "100", f"http://127.0.0.1:{server.port}/"], 60)
            url = f"http://127.0.0.1:{server.health}/metrics"
            for accept in ["*/*", "text/plain"]:
                text = run(["curl", "-sS", "--max-time", "20", "-H", f"accept: {accept}", url], 30)[1]
                yield f"`/metrics`, `accept: {accept}`", f"Interloop on {loop}", *judged(text)
    program = "import prometheus_client as p; print(p.generate_latest().decode(), end='')"
    yield "its own metrics", "prometheus-client, Python", *judged(run(["/usr/bin/python3", "-c", program], 60)[1])


def testssl():
    cert, key = WORK / "cert.pem", WORK / "key.pem"
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)], 60)
    port = free_port()
    bare = Server([program("bare-tls"), f"127.0.0.1:{port}", cert, key], port, codes=(-signal.SIGTERM,))
    subjects = [(f"Interloop on {loop}", suite(loop, "--http-tls-cert", cert, "--http-tls-key", key)) for loop in SLOW_LOOPS]
    found = {}
    for name, server in [("axum over tokio-rustls", bare), *subjects]:
        report = WORK / "testssl.json"
        report.unlink(missing_ok=True)
        with server:
            run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--openssl-timeout", "10",
                 "--protocols", "--server-defaults", "--server-preference", "--vulnerable", "--jsonfile", str(report), f"127.0.0.1:{server.port}"], 900)
        # The certificate vouches for itself: what is said of it is no news.
        findings = [one for one in json.loads(report.read_text()) if not one["id"].startswith(("cert", "OCSP", "DNS_CAA"))]
        found[name] = {(one["id"], one["finding"]) for one in findings if one["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL")}
        theirs = found["axum over tokio-rustls"]
        result = f"{len(findings)} findings, {len(found[name])} of LOW or worse"
        beyond = sorted(id for id, _ in found[name] - theirs)
        if beyond:
            result += ": beyond the peer's " + ", ".join(beyond)
        elif found[name]:
            result += " (" + ", ".join(sorted(id for id, _ in found[name])) + ")"
        yield "protocols, defaults, preferences, vulnerabilities", name, result, not beyond


def grpcio():
    python = WORK / "venv/bin/python"
    for command in (["/usr/bin/python3", "-m", "venv", str(WORK / "venv")], [str(python), "-m", "pip", "install", "--quiet", *PYPI]):
        code, said = run(command, 600)
        if code != 0:
            raise Failed(f"{' '.join(command)}: {said[-300:]}")
    port = free_port()
    subjects = [("grpcio's own server", Server([python, ROOT / "tests/suites/grpc_peer.py", port], port, codes=(-signal.SIGTERM,)))]
    for loop in SLOW_LOOPS:
        port = free_port()
        subjects.append((f"Interloop on {loop}", Server([program("grpc-health"), "--grpc-loop", loop, "--grpc-port", port], port)))
    for name, server in subjects:
        with server:
            code, said = run([str(python), str(ROOT / "tests/suites/grpc_client.py"), str(server.port), "grpc"], 120)
        lines = said.strip().splitlines()
        result = f"{len(lines)} of {len(lines)} hold" if code == 0 else f"{lines[-1:]}"
        yield "health and reflection, its own clients", name, result, code == 0


def dbus():
    bus = f"unix:path={WORK}/bus"
    (WORK / "bus").unlink(missing_ok=True)
    here = {"DBUS_SESSION_BUS_ADDRESS": bus}
    calls = [
        ("20,000 calls, 16 under way", ["--count=20000", "--queue=16"]),
        ("2,000 calls in a flood", ["--count=2000", "--flood"]),
        ("2,000 calls, 100 a connection", ["--count=2000", "--messages-per-conn=100"]),
    ]
    name = "org.interloop.Bench"

    def owned():
        said = run(["dbus-send", f"--bus={bus}", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner",
                    f"string:{name}"], 20)[1]
        return "boolean true" in said

    daemon = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}"]
    with Server(daemon, ready=(WORK / "bus").exists):
        subjects = [("dbus-test-tool echo", Server(["dbus-test-tool", "echo", f"--name={name}"], codes=(-signal.SIGTERM,), ready=owned, env=here))]
        subjects.append(("bare zbus", Server([program("bare-dbus"), bus], codes=(-signal.SIGTERM,), ready=owned)))
        for loop in SLOW_LOOPS:
            subjects.append((f"Interloop on {loop}", Server([program("bus-on"), "--dbus-loop", loop, "--dbus-address", bus], ready=owned)))
        for subject, server in subjects:
            with server:
                for what, words in calls:
                    began = time.monotonic()
                    code, said = run(["dbus-test-tool", "spam", f"--dest={name}", "--ignore-errors", *words], 120, env={**os.environ, **here})
                    took = time.monotonic() - began
                    result = f"all answered in {took:.1f} s" if code == 0 else f"exit code {code}: {said[-100:]}"
                    yield what, subject, result, code == 0


def autobahn():
    wstest = shutil.which("wstest") or os.environ.get("WSTEST")
    if not wstest:
        return
    for loop in SLOW_LOOPS:
        with suite(loop) as server:
            folder = WORK / f"autobahn-{loop}"
            spec = WORK / "fuzzingclient.json"
            servers = [{"agent": "Interloop", "url": f"ws://127.0.0.1:{server.port}/echo"}]
            spec.write_text(json.dumps({"outdir": str(folder), "servers": servers, "cases": ["*"], "exclude-cases": ["9.*", "12.*", "13.*"]}))
            run([wstest, "--mode", "fuzzingclient", "--spec", str(spec)], 900)
        cases = json.loads((folder / "index.json").read_text())["Interloop"]
        good = ("OK", "NON-STRICT", "INFORMATIONAL")
        bad = sorted(case for case, of in cases.items() if of["behavior"] not in good or of["behaviorClose"] not in good)
        result = f"{len(cases)} cases, {len(bad)} failed" + (f": {', '.join(bad)}" if bad else "")
        yield "all cases but those of size and compression", f"Interloop on {loop}", result, not bad


SUITES = {"h2load": h2load, "slowhttptest": slowhttptest, "promtool": promtool, "testssl.sh": testssl, "grpcio": grpcio, "dbus-test-tool": dbus,
          "autobahntestsuite": autobahn}
LEFT_OUT = {"autobahntestsuite": "left out: it needs Python 2.7, which neither Debian 12 nor PyPI has; where a `wstest` is in the path, or named by `WSTEST`, it runs"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="release", choices=["release", "debug"])
    parser.add_argument("--only", default="", metavar="TEXT", help="the suites whose name contains this; docs/suites.md is left alone")
    parser.add_argument("--dry", action="store_true", help="leave docs/suites.md alone")
    words = parser.parse_args()
    global PROFILE
    PROFILE = words.profile
    WORK.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    for name, rows_of in SUITES.items():
        if words.only not in name:
            continue
        count = len(rows)
        try:
            for what, subject, result, good in rows_of():
                print(f"{name}: {what}: {subject}: {result}", flush=True)
                rows.append((name, what, subject, result if good else f"**{result}**"))
                failed += [] if good else [f"{name}: {what}: {subject}"]
        except (Failed, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", flush=True)
            rows.append((name, "", "", f"**{error}**"))
            failed.append(f"{name}: {error}")
        if len(rows) == count:
            rows.append((name, "", "", LEFT_OUT[name]))
    if not words.only and not words.dry:
        write(rows)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def write(rows):
    lines = ["| suite | what it does | to whom | what came of it |", "|---|---|---|---|"]
    before = ("", "")
    for name, what, subject, result in rows:
        shown = ("" if name == before[0] else name, "" if (name, what) == before else what)
        before = (name, what)
        lines.append("| " + " | ".join([*shown, subject, " ".join(result.replace("|", "\\|").split())]) + " |")
    when = f"{time.strftime('%Y-%m-%d')}, {PROFILE} build, Linux {platform.release()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end"
    text = DOCS.read_text()
    head, rest = text.split("<!-- the run writes from here -->\n")
    tail = rest.split("<!-- to here -->\n")[1]
    DOCS.write_text(f"{head}<!-- the run writes from here -->\nThe last run: {when}.\n\n" + "\n".join(lines) + f"\n<!-- to here -->\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
