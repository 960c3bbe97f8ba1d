#!/usr/bin/env python3
"""Which functions a running agent executes: the linker puts them side by side, so that few pages of the program are in memory.

usage: layout.py --agent PROGRAM [--sink PATH] [--write src/resident.txt]

PROGRAM is a release build that has its names: cargo build --release --config profile.release.strip=false. valgrind runs it
twice, at rest and at a low rate, metrics and health asked for: set up by flags and towards an Elasticsearch without TLS; then by
a file, with TLS and with a SIEM. What the first run executes stands first.

Names are written without what changes with every build (the hash of the legacy mangling, the crate's number of the other one),
and where most of the bytes below a common beginning are executed, that beginning stands for all of them.
"""

import argparse
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import run
import siem

HERE = pathlib.Path(__file__).resolve().parent
# So much of what a pattern stands for must be executed.
SHARE = 0.5
HEAD = """# What a running agent executes, by the linker's names: see link.rs. Written by tests/benches/layout.py. A name that is not
# there any more does no harm; one that is missing costs some pages of memory.
"""


def flags(folder, sink):
    return ["--source", folder / "logs/flows*.log", "--elasticsearch", sink.url, "--state-dir", folder / "state",
            "--cluster", "bench", "--node", "bench-node", "--listen", "127.0.0.1:0"]


def configuration(folder, sink):
    """Elasticsearch by TLS, and a SIEM."""
    receiver = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=siem.receive, args=(receiver, siem.context(folder), "tls"), daemon=True).start()
    (folder / "zones.yaml").write_text("apiVersion: zones/v1\nzones:\n- {name: shop, match: [{namespace: \"s*\"}]}\n"
                                       "- {name: pods, match: [{namespace: \"*\"}]}\n- {name: out, match: [{public: true}]}\n")
    tls = {"tls": {"ca_file": str(folder / "ca.pem")}}
    (folder / "tidegate.json").write_text(json.dumps({
        "cluster": "bench", "node": "bench-node", "sources": [{"path": str(folder / "logs/flows*.log")}],
        "zones": str(folder / "zones.yaml"), "state_dir": str(folder / "state"), "listen": "127.0.0.1:0",
        "sinks": {"elasticsearch": {"hosts": [sink.documents], **tls},
                  "siem": [{"name": "bench", "url": f"tls://localhost:{receiver.getsockname()[1]}", **tls}]}}))
    return ["-c", folder / "tidegate.json"]


def executed(args, folder, secured):
    """Names of all functions that ran."""
    (folder / "logs").mkdir(parents=True)
    subprocess.run([sys.executable, HERE / "gen_flows.py", "2000", folder / "input"], check=True)
    lines = (folder / "input").read_bytes().splitlines(keepends=True)
    for number in range(10):
        (folder / f"logs/flows{number}.log").write_bytes(lines[number])
    if secured:
        siem.make_certificates(folder)
    args.tls, args.certificates = secured, folder
    sink = run.Sink(args)
    counted, log = folder / "callgrind", folder / "agent.log"
    try:
        told = configuration(folder, sink) if secured else flags(folder, sink)
        with open(log, "wb") as out:
            agent = subprocess.Popen(["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={counted}",
                                      args.agent, "run", *told], stdout=out, stderr=out)
        time.sleep(15)
        with open(folder / "logs/flows0.log", "ab", buffering=0) as flows:
            for at in range(10, len(lines), 20):
                flows.write(b"".join(lines[at:at + 20]))
                time.sleep(0.1)
        address = re.search(r'"address":"([^"]+)"', log.read_text()) or sys.exit(log.read_text())
        for path in ("metrics", "livez", "readyz"):
            urllib.request.urlopen(f"http://{address[1]}/{path}", timeout=60).read()
        time.sleep(15)
        agent.terminate()
        agent.wait(60)
    finally:
        sink.stop()
    if "lane ended" not in log.read_text() or sum('"clean":true' in line for line in log.read_text().splitlines()) == 0:
        sys.exit(log.read_text())
    return functions(counted, args.agent)


def functions(counted, agent):
    """Names in callgrind's file whose code is the agent's: it gives a name once, and then only its number."""
    names, objects, inside, ran = {}, {}, False, set()
    for line in open(counted):
        part = re.match(r"c?(ob|fn)=\((\d+)\)(?: (.*))?", line)
        if not part:
            continue
        known = objects if part[1] == "ob" else names
        if part[3]:
            known[part[2]] = part[3].strip()
        if line.startswith("ob="):
            inside = objects[part[2]].endswith(str(agent.resolve().name))
        elif line.startswith("fn=") and inside:
            ran.add(part[2])
    return {names[number].split("'")[0] for number in ran}


def symbols(agent):
    """Address, size and name of every function."""
    listed = subprocess.run(["nm", "-S", "-n", agent], check=True, capture_output=True, text=True).stdout
    fields = (line.split() for line in listed.splitlines())
    return [(f[0], int(f[1], 16), f[3]) for f in fields if len(f) == 4 and f[2] in "tTwW"]


def lasting(name):
    """What of a name stays the same from build to build, and whether a hash was cut off."""
    stem, hashed, _ = name.partition("17h") if re.search("17h[0-9a-f]{16}E", name) else (name, "", "")
    return re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", stem) + (hashed and "17h*")


class Tree:
    """Names by their parts, with the bytes below, executed and in all."""

    def __init__(self):
        self.below, self.size, self.ran = {}, 0, 0

    def add(self, name, size, ran):
        at = self
        for part in ["", *re.findall(r"\d+|[A-Za-z_]+|\$[^$]*\$|.", name)]:
            at = at.below.setdefault(part, Tree()) if part else at
            at.size, at.ran = at.size + size, at.ran + ran

    def patterns(self, start=""):
        if self.ran == 0:
            return
        if not self.below or (start and self.ran >= SHARE * self.size):
            yield start if start.endswith("*") else start + "*"
            return
        for part, tree in self.below.items():
            yield from tree.patterns(start + part)


def patterns(listed, ran):
    """ICF gives several names one address, and valgrind knows one of them."""
    addresses = {address for address, _, name in listed if name in ran}
    tree = Tree()
    for address, size, name in listed:
        tree.add(lasting(name), size, size if address in addresses else 0)
    return sorted(tree.patterns())


def main():
    parser = run.new_parser(__doc__)
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE")
    args = parser.parse_args()
    args.pin, args.seq, args.sink_options = False, False, ""
    listed = symbols(args.agent)
    if not listed:
        sys.exit(f"layout.py: {args.agent} has no names; build it with --config profile.release.strip=false")
    sizes = {name: size for _, size, name in listed}
    found = []
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        for secured in (False, True):
            ran = executed(args, pathlib.Path(folder) / str(secured), secured)
            print(f"{'TLS and SIEM' if secured else 'plain':13}{len(ran):6} functions, "
                  f"{sum(sizes.get(name, 0) for name in ran):,} bytes of {sum(sizes.values()):,}")
            found += [pattern for pattern in patterns(listed, ran) if pattern not in found]
    if args.write:
        args.write.write_text(HEAD + "".join(f"{pattern}\n" for pattern in found))


if __name__ == "__main__":
    main()
