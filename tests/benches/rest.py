#!/usr/bin/env python3
"""What the agent costs when there is little to do: idle for a while, then at a steady rate. One JSON line each.

usage: rest.py [--agent PATH] [--sink PATH] [--files N] [--idle SECONDS] [--rate FLOWS] [--steady SECONDS] [--max-rss MIB]
               [--elasticsearch JSON]

idle: so many files that nobody writes to. CPU, wake-ups of all threads and memory over the time, after ten seconds to start.
steady: so many flows a second are appended, one write each 10 ms. CPU as a share of a core, and how long after a line was
written the sink had taken its document (by the sink's count, looked at 50 times a second): median, 95 and 99 in a hundred;
left out with --steady 0. The exit code is 1 when the idle agent keeps more than --max-rss.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import run

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = run.new_parser(__doc__)
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--idle", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--rate", type=int, default=1000, metavar="FLOWS")
    parser.add_argument("--steady", type=float, default=60, metavar="SECONDS")
    parser.add_argument("--max-rss", type=float, metavar="MIB", help="resident memory of the idle agent at most")
    parser.add_argument("--elasticsearch", type=json.loads, metavar="JSON", help="further keys of the Elasticsearch sink")
    args = parser.parse_args()
    args.pin, args.seq, args.sink_options = True, False, ""
    return args


class Agent:
    """Running, and not --once."""

    def __init__(self, args, folder, url):
        command = [args.agent, "run", "--source", folder / "logs/flows*.log", "--elasticsearch", url, "--state-dir",
                   folder / "state", "--cluster", "bench", "--node", "bench-node", "--listen", "127.0.0.1:0"]
        if args.elasticsearch:
            further = folder / "further.json"
            further.write_text(json.dumps({"sinks": {"elasticsearch": args.elasticsearch}}))
            command += ["-c", further]
        self.log = open(folder / "agent.log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, preexec_fn=run.pinned(args, 0))

    def looked_at(self):
        proc = pathlib.Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        kib = {name: int(status[name].split()[0]) for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}
        switches, cpu_ns = 0, 0
        for task in (proc / "task").iterdir():
            lines = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
            switches += int(lines["voluntary_ctxt_switches"])
            # Not by ticks of 10 ms: a minute of rest is less than one.
            cpu_ns += int((task / "schedstat").read_text().split()[0])
        return {"at": time.monotonic(), "cpu": cpu_ns / 1e9, "switches": switches, **kib}

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def cost(before, after):
    seconds = after["at"] - before["at"]
    return {
        "seconds": round(seconds, 1), "core_percent": round(100 * (after["cpu"] - before["cpu"]) / seconds, 3),
        "wake_ups_a_second": round((after["switches"] - before["switches"]) / seconds, 2),
        **{f"{name}_mib": round(after[key] / 1024, 1) for name, key in
           (("peak_rss", "VmHWM"), ("rss", "VmRSS"), ("rss_own", "RssAnon"), ("rss_of_files", "RssFile"))},
    }


def idle(args, agent):
    time.sleep(10)
    before = agent.looked_at()
    time.sleep(args.idle)
    return {"name": "idle", "files": args.files, **cost(before, agent.looked_at())}


def steady(args, agent, sink, path, lines):
    """`lines` are written again and again; each tick's share is written and its time kept."""
    base, written, seen, delays, pending = sink.stats()["seen"], 0, 0, [], []
    began, next_look = time.monotonic(), 0.0
    before = agent.looked_at()
    with open(path, "ab", buffering=0) as log:
        while True:
            now = time.monotonic() - began
            due = min(int(now * args.rate), int(args.steady * args.rate))
            if due > written:
                log.write(b"".join(lines[at % len(lines)] for at in range(written, due)))
                pending.append((due, time.monotonic()))
                written = due
            if now >= next_look:
                next_look = now + 0.02
                got = sink.stats()["seen"] - base
                while pending and got >= pending[0][0]:
                    count, at = pending.pop(0)
                    delays += [time.monotonic() - at] * (count - seen)
                    seen = count
            if now > args.steady and not pending:
                break
            if now > args.steady + 30:
                sys.exit(f"rest.py: {written} lines written, {seen} documents after 30 s more")
            time.sleep(0.01)
    after = agent.looked_at()
    delays.sort()
    at = lambda share: round(delays[int(share * (len(delays) - 1))], 2)
    return {"name": "steady", "rate": args.rate, "documents": seen, **cost(before, after),
            "seconds_to_taken": {"median": at(0.5), "p95": at(0.95), "p99": at(0.99)}}


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        folder = pathlib.Path(folder)
        (folder / "logs").mkdir()
        data = folder / "input"
        subprocess.run([sys.executable, HERE / "gen_flows.py", "10000", data], check=True)
        lines = data.read_bytes().splitlines(keepends=True)
        for number in range(args.files):
            (folder / f"logs/flows{number}.log").write_bytes(lines[number])
        sink = run.Sink(args)
        try:
            agent = Agent(args, folder, sink.url)
            try:
                at_rest = idle(args, agent)
                print(json.dumps(at_rest), flush=True)
                if args.steady:
                    print(json.dumps(steady(args, agent, sink, folder / "logs/flows0.log", lines)), flush=True)
            finally:
                agent.stop()
        finally:
            sink.stop()
    if args.max_rss and at_rest["rss_mib"] > args.max_rss:
        sys.exit(f"rest.py: {at_rest['rss_mib']} MiB are resident; see layout.py if the program's pages grew")


if __name__ == "__main__":
    main()
