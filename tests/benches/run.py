#!/usr/bin/env python3
"""One run of the agent against the stand-in sink: CPU-seconds a million flows, peak memory, what arrived. One JSON line.

usage: run.py [options] [-- AGENT OPTIONS…]

The input is generated once and kept. The agent runs with --once, pinned to CPU 0 and the sink to CPU 1 (--no-pin leaves
both to the kernel), until it ends by itself, or until nothing has arrived for --stall seconds. Figures are judged with
--max-cpu and --max-rss; the exit code is 1 when one is missed or a document is missing, refused or repeated.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import siem

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
POLL_S = 0.1
# Of the generated input, one line in ten crosses them and speaks for its connection.
ZONES = """\
apiVersion: zones/v1
zones:
- {name: money, match: [{namespace: payments}, {namespace: ledger}]}
- {name: rest, match: [{namespace: shop}, {namespace: identity}, {namespace: search}, {namespace: ingress-nginx},
    {namespace: kube-system}, {namespace: monitoring}, {namespace: calico-system}]}
"""


def new_parser(description):
    """What every bench of an agent before the stand-in sink is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, default=BUILD / "release/tidegate")
    parser.add_argument("--sink", type=pathlib.Path, default=BUILD / "release/examples/bulk_sink")
    parser.set_defaults(tls=False, siem=False, elasticsearch={})
    return parser


def arguments():
    parser = new_parser(__doc__)
    parser.add_argument("--name", default="tidegate", help="what the line calls the run")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--level", type=int, choices=(0, 1, 2), default=0, help="aggregation level of the input")
    parser.add_argument("--seq", action="store_true",
                        help="number the lines, to count repeats by (each line then has an unknown field: it costs more)")
    parser.add_argument("--data", type=pathlib.Path, help="input instead of the generated one; --lines says how many")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tidegate-bench")
    parser.add_argument("--sink-options", default="", help='passed on, such as "--ids --cut-every 50"')
    parser.add_argument("--no-pin", dest="pin", action="store_false")
    parser.add_argument("--tls", action="store_true", help="requests go over TLS, the floor's too (needs openssl)")
    parser.add_argument("--siem", action="store_true",
                        help="a SIEM lane beside, to which about a tenth of the flows goes as CEF")
    parser.add_argument("--floor", type=pathlib.Path, nargs="?", const=BUILD / "release/examples/floor", metavar="PROGRAM",
                        help="also run the floor programs, before and after, and tell the ratios")
    parser.add_argument("--max-ratio", type=float, metavar="N",
                        help="times the CPU-seconds of the floor that makes the documents at most")
    parser.add_argument("--stall", type=float, default=30, metavar="SECONDS")
    parser.add_argument("--max-cpu", type=float, metavar="SECONDS", help="CPU-seconds a million flows at most")
    parser.add_argument("--max-rss", type=float, metavar="MIB", help="peak resident memory at most")
    parser.add_argument("agent_options", nargs="*", metavar="AGENT OPTIONS")
    args = parser.parse_args()
    for binary in (args.agent, args.sink, args.floor):
        if binary and not binary.is_file():
            sys.exit(f"run.py: {binary} is not there; README.md says how to build it")
    return args


def input_file(args):
    if args.data:
        return args.data.resolve()
    args.cache.mkdir(parents=True, exist_ok=True)
    path = args.cache / f"flows-{args.lines}-level{args.level}{'-seq' if args.seq else ''}.log"
    if not path.exists():
        part = path.with_suffix(".part")
        options = ["--level", str(args.level), *(["--seq"] if args.seq else [])]
        subprocess.run([sys.executable, HERE / "gen_flows.py", str(args.lines), part, *options], check=True)
        part.rename(path)
    return path.resolve()


def pinned(args, cpu):
    if not args.pin or cpu not in os.sched_getaffinity(0):
        return None
    return lambda: os.sched_setaffinity(0, {cpu})


class Sink:
    def __init__(self, args):
        command = [args.sink, "--listen", "127.0.0.1:0", *args.sink_options.split(), *(["--seq"] if args.seq else []),
                   *(["--tls", args.certificates] if args.tls else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pinned(args, 1))
        first = self.process.stdout.readline()
        if not first:
            sys.exit("run.py: the sink ended")
        self.url = "http://" + first.split()[-1]
        # Where documents go, for a program that names a host, and for one that has its address.
        self.peer = self.process.stdout.readline().split()[-1] if args.tls else first.split()[-1]
        self.documents = f"https://localhost:{self.peer.split(':')[-1]}" if args.tls else self.url

    def stats(self):
        with urllib.request.urlopen(self.url + "/_stats", timeout=30) as answer:
            return json.load(answer)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Agent:
    """The agent as one process: CPU from its end, memory as the highest mark seen while it ran."""

    def __init__(self, args, data, sink, siem_url, state):
        tls = {"tls": {"ca_file": str(args.certificates / "ca.pem")}} if args.tls else {}
        sinks = {"elasticsearch": {"hosts": [sink.documents], **tls, **args.elasticsearch}}
        if siem_url:
            (state / "zones.yaml").write_text(ZONES)
            sinks["siem"] = [{"name": "bench", "url": siem_url, **tls}]
        (state / "tidegate.json").write_text(json.dumps({
            "cluster": "bench", "node": "bench-node", "sources": [{"path": str(data)}], "listen": "127.0.0.1:0",
            "state_dir": str(state / "state"), "sinks": sinks,
            **({"zones": str(state / "zones.yaml")} if siem_url else {})}))
        command = [args.agent, "run", "-c", state / "tidegate.json", "--once", *args.agent_options]
        self.log = open(state / "agent.log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, preexec_fn=pinned(args, 0))
        self.peak_kib = 0
        self.exit_code = None
        self.usage = None

    def running(self):
        if self.exit_code is None:
            self.peak_kib = max(self.peak_kib, self.high_water())
            self.reap(os.WNOHANG)
        return self.exit_code is None

    def high_water(self):
        # Not ru_maxrss: a child starts with its parent's mark there.
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
        except OSError:
            return 0

    def reap(self, options):
        pid, status, usage = os.wait4(self.process.pid, options)
        if pid:
            self.exit_code, self.usage = os.waitstatus_to_exitcode(status), usage
            self.process.returncode = self.exit_code

    def stop(self):
        """How long it took to end after SIGTERM."""
        if self.exit_code is not None:
            return 0.0
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        while self.running() and time.monotonic() - began < 30:
            time.sleep(POLL_S)
        if self.exit_code is None:
            self.process.kill()
            self.reap(0)
        return time.monotonic() - began


class Receiver:
    """A SIEM that throws away, on the sink's core."""

    def __init__(self, args):
        self.url, self.process = None, None
        if not args.siem:
            return
        listener = socket.create_server(("127.0.0.1", 0))
        scheme = "tls" if args.tls else "tcp"
        self.process = os.fork()
        if self.process == 0:
            try:
                (pinned(args, 1) or (lambda: None))()
                siem.receive(listener, siem.context(args.certificates) if args.tls else None, scheme)
            finally:
                os._exit(0)
        self.url = f"{scheme}://localhost:{listener.getsockname()[1]}"

    def stop(self):
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)


class Floor:
    """CPU-seconds a million documents of two programs, once before the agent's run and once after: one that sends ready
    documents, and one that makes them."""

    def __init__(self, args, data):
        self.args, self.data, self.sent, self.made = args, data, [], []
        self.text = args.cache / (data.stem + ".bulk")
        if args.floor and not self.text.exists():
            args.cache.mkdir(parents=True, exist_ok=True)
            part = self.text.with_suffix(".part")
            subprocess.run([args.floor, "documents", data, part], check=True)
            part.rename(self.text)

    def run(self):
        if self.args.floor:
            self.sent.append(self.cost("send", self.data, self.text))
            self.made.append(self.cost("make", self.data))

    def cost(self, *what):
        sink = Sink(self.args)
        try:
            ca = [self.args.certificates / "ca.pem"] if self.args.tls else []
            process = subprocess.Popen([self.args.floor, *what, sink.peer, *ca], stdout=subprocess.DEVNULL,
                                       preexec_fn=pinned(self.args, 0))
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            docs = sink.stats()["docs"]
        finally:
            sink.stop()
        if process.returncode != 0 or docs != self.args.lines:
            sys.exit(f"run.py: the floor program sent {docs} documents and ended with {process.returncode}")
        return (usage.ru_utime + usage.ru_stime) / (docs / 1e6)

    def figures(self, cpu):
        if not self.sent:
            return {}
        figures = {}
        for name, runs in (("sending", self.sent), ("making", self.made)):
            figures[f"{name}_floor_cpu_s_per_million"] = [round(run, 2) for run in runs]
            figures[f"ratio_to_{name}_floor"] = round(cpu / (sum(runs) / len(runs)), 2)
        return figures


def measure(args, data, sink, siem_url, state):
    before, load = sink.stats(), os.getloadavg()[0]
    agent = Agent(args, data, sink, siem_url, state)
    try:
        last, moved = -1, time.monotonic()
        while agent.running() and time.monotonic() - moved < args.stall:
            time.sleep(POLL_S)
            seen = sink.stats()["seen"]
            if seen != last:
                last, moved = seen, time.monotonic()
        stalled = agent.exit_code is None
    finally:
        stop_s = agent.stop()
        agent.log.close()
    return agent, sink.stats(), {"load_before": load, "stalled": stalled, "stop_s": stop_s, "start_s": before["now_s"]}


def result(args, data, agent, stats, run):
    million = max(stats["docs"], 1) / 1e6
    cpu = agent.usage.ru_utime + agent.usage.ru_stime
    wall = stats["last_s"] - run["start_s"]
    requests = max(stats["requests"], 1)
    return {
        "name": args.name, "lines": args.lines, "docs": stats["docs"], "exit_code": agent.exit_code,
        "cpu_s_per_million": round(cpu / million, 2), "flows_per_cpu_s": round(stats["docs"] / cpu) if cpu else 0,
        "peak_rss_mib": round(agent.peak_kib / 1024, 1),
        "user_s": round(agent.usage.ru_utime, 2), "sys_s": round(agent.usage.ru_stime, 2), "wall_s": round(wall, 2),
        "flows_per_s": round(stats["docs"] / wall) if wall > 0 else 0,
        "file_mb": round(data.stat().st_size / 1e6, 1), "raw_mb": round(stats["raw_bytes"] / 1e6, 1),
        "wire_mb": round(stats["wire_bytes"] / 1e6, 1),
        "raw_to_file": ratio(stats["raw_bytes"], data.stat().st_size),
        "wire_to_raw": ratio(stats["wire_bytes"], stats["raw_bytes"]),
        "requests": stats["requests"], "docs_per_request": round(stats["docs"] / requests),
        "connections": stats["connections"], "seq_distinct": stats["seq_distinct"],
        "seq_repeats": stats["seq_repeats"], "conflicts": stats["conflicts"], "refused_items": stats["refused_items"],
        "rejected_requests": stats["rejected_requests"], "cut_requests": stats["cut_requests"],
        "malformed": stats["malformed"], "pinned": args.pin, "stalled": run["stalled"],
        "stop_s": round(run["stop_s"], 2), "load_before": round(run["load_before"], 2),
    }


def ratio(part, whole):
    return round(part / whole, 3) if whole else 0


def misses(args, line):
    if line["stalled"]:
        yield f"nothing arrived for {args.stall:g} s"
    if line["exit_code"] != 0:
        yield f"the agent's exit code is {line['exit_code']}"
    # Refused with 400 is refused for good; everything else must be there, once.
    faults = "--item400-every" in args.sink_options
    arrived = line["seq_distinct"] if args.seq else line["docs"]
    if not faults and arrived != args.lines:
        yield f"{arrived} documents of {args.lines} lines"
    if line["seq_repeats"]:
        yield f"{line['seq_repeats']} repeated documents"
    if line["malformed"]:
        yield f"{line['malformed']} malformed bulk lines"
    if args.max_cpu is not None and line["cpu_s_per_million"] > args.max_cpu:
        yield f"{line['cpu_s_per_million']} CPU-seconds a million, {args.max_cpu:g} allowed"
    if args.max_ratio is not None and line.get("ratio_to_making_floor", 0) > args.max_ratio:
        yield f"{line['ratio_to_making_floor']} times the floor, {args.max_ratio:g} allowed"
    if args.siem and not line["siem_records"]:
        yield "no record for the SIEM"
    if args.max_rss is not None and line["peak_rss_mib"] > args.max_rss:
        yield f"{line['peak_rss_mib']} MiB at the peak, {args.max_rss:g} allowed"


def main():
    args = arguments()
    data = input_file(args)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as state:
        state = args.certificates = pathlib.Path(state)
        if args.tls:
            siem.make_certificates(state)
        floor = Floor(args, data)
        floor.run()
        sink, receiver = Sink(args), Receiver(args)
        try:
            agent, stats, run = measure(args, data, sink, receiver.url, state)
        finally:
            sink.stop()
            receiver.stop()
        line = result(args, data, agent, stats, run)
        if args.siem:
            line["siem_records"] = siem.records(state / "agent.log", "siem-bench")
        floor.run()
        line.update(floor.figures(line["cpu_s_per_million"]))
        print(json.dumps(line), flush=True)
        missed = list(misses(args, line))
        for miss in missed:
            print(f"run.py: {miss}", file=sys.stderr)
        if missed:
            tail = (state / "agent.log").read_bytes()[-2000:].decode(errors="replace")
            print(f"run.py: the end of the agent's log:\n{tail}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
