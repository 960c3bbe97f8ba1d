#!/usr/bin/env python3
"""The SIEM lane as a whole over TLS: read, decode, classify, encode, frame, encrypt, to a receiver that throws away. --siem
holds further keys of the destination.

usage: siem.py [--agent PATH] [--lines N] [--scheme tls|tcp|relp|splunk+http|splunk+https] [--siem JSON]

Prints one JSON line: CPU-seconds of the whole process, records a CPU-second, peak memory. Needs openssl and Linux.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))


def receive(listener, context, scheme):
    """One process of its own, so that its work is nobody else's."""
    while True:
        connection, _ = listener.accept()
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        if scheme == "relp":
            answer(connection)
        if scheme.startswith("splunk"):
            collect(connection)
        buffer = bytearray(1 << 18)
        while connection.recv_into(buffer):
            pass
        connection.close()


def answer(connection):
    """A RELP receiver that has everything at once."""
    stream = connection.makefile("rb", buffering=1 << 18)
    while True:
        head = b""
        while head.count(b" ") < 3 and not head.endswith(b"\n"):
            octet = stream.read(1)
            if not octet:
                return
            head += octet
        txnr, command, length = head.split()[:3]
        if int(length):
            stream.read(int(length) + 1)
        if command == b"close":
            return
        data = b"200 OK\ncommands=syslog" if command == b"open" else b"200 OK"
        connection.sendall(b"%s rsp %d %s\n" % (txnr, len(data), data))


def collect(connection):
    """A HTTP Event Collector that has everything indexed at once."""
    stream = connection.makefile("rb", buffering=1 << 18)
    taken = 0
    while line := stream.readline():
        path, length = line.split()[1], 0
        while (header := stream.readline().strip()) != b"":
            name, value = header.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        body = stream.read(length)
        if path.startswith(b"/services/collector/event"):
            said = {"text": "Success", "code": 0, "ackId": taken}
            taken += 1
        elif path.startswith(b"/services/collector/ack"):
            said = {"acks": {str(ack): True for ack in json.loads(body)["acks"]}}
        else:
            said = {"text": "HEC is healthy", "code": 17}
        said = json.dumps(said).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))


def make_certificates(folder):
    """ca.pem, server.pem and server.key for localhost, and more."""
    subprocess.run([HERE.parent / "siem/gen-certs.sh", folder], check=True, stdout=subprocess.DEVNULL)


def context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def records(log, lane):
    """How many a lane delivered, by what it said at its end."""
    ended = [json.loads(line) for line in log.read_text().splitlines() if '"lane ended"' in line]
    return next((line["delivered_lines"] for line in ended if line["lane"] == lane), 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default=BUILD / "quick/tidegate")
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--scheme", choices=("tls", "tcp", "relp", "splunk+http", "splunk+https"), default="tls")
    parser.add_argument("--siem", type=json.loads, default={}, metavar="JSON")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    subprocess.run([sys.executable, HERE / "gen_flows.py", str(args.lines), folder / "flows.log"], check=True)
    # Zones by the first letters of namespaces, so that most flows cross.
    (folder / "zones.yaml").write_text(
        "apiVersion: zones/v1\nzones:\n" + "".join(
            f"- {{name: {zone}, match: [{match}]}}\n" for zone, match in
            [(letter, f'{{namespace: "{letter}*"}}') for letter in "abcdefghijklm"] +
            [("pods", '{namespace: "*"}'), ("public", "{public: true}"), ("private", "{public: false}")]))
    server, tls = None, {}
    if args.scheme in ("tls", "splunk+https"):
        make_certificates(folder)
        server = context(folder)
        tls = {"tls": {"ca_file": str(folder / "ca.pem")}}
    if args.scheme.startswith("splunk"):
        (folder / "token").write_text("token")
        tls["splunk"] = {"token": {"file": str(folder / "token")}}
    listener = socket.create_server(("127.0.0.1", 0))
    receiver = os.fork()
    if receiver == 0:
        try:
            receive(listener, server, args.scheme)
        finally:
            os._exit(0)
    url = f"{args.scheme}://localhost:{listener.getsockname()[1]}"
    (folder / "tidegate.json").write_text(json.dumps({
        "cluster": "bench", "node": "bench", "sources": [{"path": str(folder / "flows.log")}],
        "zones": str(folder / "zones.yaml"), "state_dir": str(folder / "state"), "listen": "127.0.0.1:0",
        "sinks": {"siem": [{"name": "bench", "url": url, "connections": "both", **tls, **args.siem}]}}))
    log = folder / "agent.log"
    try:
        with open(log, "wb") as out:
            agent = subprocess.Popen([args.agent, "run", "-c", folder / "tidegate.json", "--once"], stderr=out)
            peak = 0
            while True:
                pid, status, usage = os.wait4(agent.pid, os.WNOHANG)
                if pid:
                    break
                peak = max(peak, high_water(agent.pid))
                time.sleep(0.05)
    finally:
        os.kill(receiver, 9)
        os.waitpid(receiver, 0)
    agent.returncode = os.waitstatus_to_exitcode(status)
    sent, spent = records(log, "siem-bench"), usage.ru_utime + usage.ru_stime
    if agent.returncode or not sent:
        sys.exit(log.read_text())
    print(json.dumps({
        "scheme": args.scheme, "lines": args.lines, "records": sent, "user_s": round(usage.ru_utime, 2),
        "system_s": round(usage.ru_stime, 2), "records_per_cpu_s": round(sent / spent),
        "peak_rss_mib": round(peak / 1024, 1), "load": os.getloadavg()[0]}))
    shutil.rmtree(folder)


def high_water(pid):
    # Not ru_maxrss: a child starts with its parent's mark there.
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    main()
