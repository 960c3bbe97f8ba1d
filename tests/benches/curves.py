#!/usr/bin/env python3
"""How cost grows: CPU and memory of one run each, against one thing that is varied. Markdown tables.

usage: curves.py [--agent PATH] [--sink PATH] [--lines N] [length|files|zones|in_flight|latency|rate …]

length: octets of a line. files: so many files hold the lines. zones: so many selectors and as many CIDRs, with a SIEM lane
to a receiver that throws away. in_flight: bytes of requests at most. latency: of each answer. rate: flows a second appended for ten
seconds. CPU is user and system time of the whole process, start and end included, so a short run shows them too.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

import rest
import run

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = run.new_parser(__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("only", nargs="*", choices=[*CURVES, []], metavar="CURVE", help=", ".join(CURVES))
    args = parser.parse_args()
    args.pin, args.seq, args.stall = True, False, 60
    return args


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder, self.count = args, folder, 0
        plain = folder / "plain.log"
        subprocess.run([sys.executable, HERE / "gen_flows.py", str(args.lines), plain], check=True)
        self.plain = plain.read_bytes().splitlines(keepends=True)

    def once(self, files, options=(), elasticsearch=None, sink_options=""):
        """Reads lists of lines, a file each, to the end; CPU-seconds, peak MiB and seconds by the clock. `elasticsearch`: keys of
        its sink."""
        self.count += 1
        place = self.folder / str(self.count)
        (place / "logs").mkdir(parents=True)
        for number, lines in enumerate(files):
            (place / f"logs/flows{number:05}.log").write_bytes(b"".join(lines))
        self.args.sink_options, self.args.agent_options = sink_options, list(options)
        self.args.elasticsearch = elasticsearch or {}
        sink = run.Sink(self.args)
        try:
            began = time.monotonic()
            agent, stats, _ = run.measure(self.args, place / "logs/flows*.log", sink, None, place)
            seconds = time.monotonic() - began
        finally:
            sink.stop()
        total = sum(map(len, files))
        if agent.exit_code != 0 or stats["docs"] != total:
            sys.exit(f"curves.py: {stats['docs']} of {total} documents, exit {agent.exit_code}:\n"
                     + (place / "agent.log").read_text()[-2000:])
        cpu = agent.usage.ru_utime + agent.usage.ru_stime
        return cpu, agent.peak_kib / 1024, seconds


def table(title, head, rows):
    print(f"\n**{title}**\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def of_length(line, octets):
    """The line without what is optional, or with labels more, so that it has about so many octets."""
    flow = json.loads(line)
    for key in ("process_args", "policies", "dest_labels", "source_labels", "nat_outgoing_ports", "dest_service_name",
                "dest_domains", "process_name", "process_id", "host", "num_process_args", "num_process_names",
                "num_process_ids", "dest_service_namespace", "dest_service_port", "dest_service_port_num",
                "num_flows_started", "num_flows_completed", "source_name", "dest_name"):
        if len(json.dumps(flow, separators=(",", ":"))) <= octets:
            break
        flow.pop(key, None)
    labels, number = [], 0
    while len(json.dumps(flow, separators=(",", ":"))) + 40 * len(labels) < octets:
        labels.append(f"example.com/label-{number:04}=value-of-{number:04}"[:37])
        number += 1
    if labels:
        had = (flow.get("source_labels") or {}).get("labels", [])
        flow["source_labels"] = {"labels": had + labels}
    return json.dumps(flow, separators=(",", ":")).encode() + b"\n"


def length(bench):
    lines = bench.plain[:bench.args.lines // 4]
    rows = []
    for octets in (300, 700, 1400, 2800, 5600, 8000):
        made = [of_length(line, octets) for line in lines]
        mean = sum(map(len, made)) / len(made)
        cpu, peak, _ = bench.once([made])
        rows.append((f"{mean:,.0f}", f"{cpu / len(made) * 1e6:.1f}", f"{cpu / sum(map(len, made)) * 1e9:.1f}", f"{peak:.1f}"))
    table("Length of a line", ("octets", "CPU µs a line", "CPU ns an octet", "peak MiB"), rows)


def files(bench):
    rows = []
    for count in (1, 10, 100, 1_000, 10_000):
        cpu, peak, _ = bench.once([bench.plain[number::count] for number in range(count)])
        rows.append((f"{count:,}", f"{cpu / len(bench.plain) * 1e6:.1f}", f"{peak:.1f}"))
    table(f"Files, {len(bench.plain):,} lines in all", ("files", "CPU µs a line", "peak MiB"), rows)


def zone_file(count):
    """So many zones of selectors and as many CIDRs, in a hundred zones; none holds what is in the input, but for the last."""
    zones = []
    for zone in range(100):
        each = range(zone * count // 100, (zone + 1) * count // 100)
        match = [{"labels": f"app == 'none-{n}' && tier in {{'a', 'b{n}'}}"} for n in each]
        match += [{"cidr": f"172.{16 + (n >> 12 & 15)}.{n >> 4 & 255}.{(n & 15) << 4}/28"} for n in each]
        zones.append({"name": f"zone-{zone}", "match": match or [{"namespace": f"none-{zone}"}]})
    letters = [{"name": letter, "match": [{"namespace": f"{letter}*"}]} for letter in "abcdefghijklmnopqrstuvwxyz"]
    outside = [{"name": "public", "match": [{"public": True}]}, {"name": "private", "match": [{"public": False}]}]
    lines = ["apiVersion: zones/v1", "zones:"]
    for zone in zones + letters + outside:
        lines += [f"- name: {zone['name']}", "  match:", *(f"  - {json.dumps(match)}" for match in zone["match"])]
    return "\n".join(lines) + "\n"


def thrown_away():
    """A TCP receiver; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def receive():
        while True:
            connection, _ = listener.accept()
            buffer = bytearray(1 << 16)
            while connection.recv_into(buffer):
                pass
            connection.close()
    threading.Thread(target=receive, daemon=True).start()
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def zones(bench):
    rows, address = [], thrown_away()
    for count in (10, 100, 1_000, 10_000, 20_000):
        path = bench.folder / f"zones-{count}.yaml"
        path.write_text(zone_file(count))
        began, before = time.monotonic(), os.times()
        subprocess.run([bench.args.agent, "zones", "check", path], check=True, stdout=subprocess.DEVNULL)
        after, checked = os.times(), time.monotonic() - began
        cpu, peak, _ = bench.once([bench.plain], ["--zones", path, "--siem", address])
        load = after.children_user + after.children_system - before.children_user - before.children_system
        rows.append((f"{count:,}", f"{1000 * load:.0f}", f"{1000 * checked:.0f}", f"{cpu / len(bench.plain) * 1e6:.1f}",
                     f"{peak:.1f}"))
    table(f"Selectors, and as many CIDRs; both lanes, {len(bench.plain):,} lines",
          ("of each", "load and check, CPU ms", "by the clock, ms", "CPU µs a line", "peak MiB"), rows)


def in_flight(bench):
    rows = []
    for mib in (1, 2, 4, 8, 16):
        elasticsearch = {"in_flight": f"{mib}MiB"}
        cpu, peak, seconds = bench.once([bench.plain], elasticsearch=elasticsearch,
                                        sink_options="--latency-ms 200")
        rows.append((mib, f"{cpu / len(bench.plain) * 1e6:.1f}", f"{peak:.1f}", f"{len(bench.plain) / seconds:,.0f}"))
    table("In flight, answers after 200 ms", ("MiB at most", "CPU µs a line", "peak MiB", "flows a second"), rows)


def latency(bench):
    rows, lines = [], bench.plain[:bench.args.lines // 4]
    for ms in (1, 10, 100, 1_000, 5_000):
        cpu, peak, seconds = bench.once([lines], sink_options=f"--latency-ms {ms}")
        rows.append((f"{ms:,}", f"{cpu / len(lines) * 1e6:.1f}", f"{peak:.1f}", f"{len(lines) / seconds:,.0f}"))
    table("A slow peer", ("answers after ms", "CPU µs a line", "peak MiB", "flows a second"), rows)


def rate(bench):
    rows = []
    for flows in (10, 100, 1_000, 10_000, 50_000, 100_000, 200_000):
        bench.args.rate, bench.args.steady = flows, 10
        # Those of the curve before are its own.
        bench.args.sink_options, bench.args.elasticsearch = "", {}
        place = bench.folder / f"rate-{flows}"
        (place / "logs").mkdir(parents=True)
        path = place / "logs/flows.log"
        path.write_bytes(bench.plain[0])
        sink = run.Sink(bench.args)
        try:
            agent = rest.Agent(bench.args, place, sink.url)
            time.sleep(3)
            try:
                got = rest.steady(bench.args, agent, sink, path, bench.plain)
            finally:
                agent.stop()
        finally:
            sink.stop()
        # What is more than it can take is taken after the ten seconds.
        each = got["core_percent"] * 1e4 * got["seconds"] / got["documents"]
        rows.append((f"{flows:,}", f"{got['core_percent']:.2f}", f"{each:.1f}", got["peak_rss_mib"],
                     got["seconds_to_taken"]["p95"]))
    table("Flows a second, for ten seconds",
          ("flows a second", "per cent of a core", "CPU µs a flow", "peak MiB", "seconds to taken, 95 of 100"), rows)


CURVES = {"length": length, "files": files, "zones": zones, "in_flight": in_flight, "latency": latency, "rate": rate}


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="tidegate-curves-") as folder:
        bench = Bench(args, pathlib.Path(folder))
        for name, curve in CURVES.items():
            if not args.only or name in args.only:
                curve(bench)


if __name__ == "__main__":
    main()
