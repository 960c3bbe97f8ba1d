#!/usr/bin/env python3
"""What a start after kill -9 costs with many rotated files in the folder. One JSON line for each agent.

usage: start.py [--agent PROGRAM]… [--files N] [--rounds N]

The folder holds --files rotated files that were read to their end, and the live file. An agent reads all of them and is
killed, and its state directory is kept as it was then. In each round the state is put back, the live file grows, and the
agent is started and killed again as soon as the first of the new lines has arrived at the stand-in sink. Several agents
take turns within each round, so that they meet the same load of the machine.
"""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target"))
LINES_PER_FILE = 2
# More than one batch of documents: a smaller one waits a second for others.
GROWTH_LINES = 600
POLL_S = 0.003
PATIENCE_S = 60


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", type=pathlib.Path, action="append", help="may be given several times")
    parser.add_argument("--sink", type=pathlib.Path, default=BUILD / "release/examples/bulk_sink")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--max-wall", type=float, metavar="MS", help="exit code 1 when an agent's median is above")
    args = parser.parse_args()
    args.agent = args.agent or [BUILD / "release/tidegate"]
    for binary in (*args.agent, args.sink):
        if not binary.is_file():
            sys.exit(f"start.py: {binary} is not there; README.md says how to build it")
    return args


class Sink:
    def __init__(self, program):
        self.process = subprocess.Popen([program, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.peer = self.process.stdout.readline().split()[-1]
        self.connection = http.client.HTTPConnection(self.peer, timeout=30)

    def ask(self, path):
        self.connection.request("GET", path)
        return json.loads(self.connection.getresponse().read())

    def wait_for(self, documents):
        began = time.monotonic()
        while (stats := self.ask("/_stats"))["docs"] < documents:
            if time.monotonic() - began > PATIENCE_S:
                sys.exit(f"start.py: {stats['docs']} documents of {documents} after {PATIENCE_S} s")
            time.sleep(POLL_S)
        return stats

    def stop(self):
        self.process.kill()
        self.process.wait()


def write_files(logs, count):
    """Returns the lines by which the live file grows in each round."""
    text = logs.parent / "generated.log"
    lines = count * LINES_PER_FILE + 1 + GROWTH_LINES
    subprocess.run([sys.executable, HERE / "gen_flows.py", str(lines), text], check=True)
    with open(text, "rb") as generated:
        for number in range(count):
            stamp = f"2026-01-{1 + number // 1440:02}T{number // 60 % 24:02}-{number % 60:02}-00.000"
            (logs / f"flows-{stamp}.log").write_bytes(b"".join(next(generated) for _ in range(LINES_PER_FILE)))
        (logs / "flows.log").write_bytes(next(generated))
        return generated.read()


class Agent:
    def __init__(self, program, work, logs, sink):
        self.program, self.state, self.saved = program, work / "state", work / "saved"
        self.command = [program, "run", "--source", logs / "flows*.log", "--elasticsearch", "http://" + sink.peer,
                        "--state-dir", self.state, "--cluster", "bench", "--node", "bench-node",
                        "--listen", "127.0.0.1:0"]
        self.log = open(work / "agent.log", "ab")
        self.runs = []

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=self.log, stderr=self.log)

    def peak_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

    def kill(self):
        """CPU time of its whole life, in milliseconds."""
        self.process.kill()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime * 1e3, usage.ru_stime * 1e3

    def read_all(self, sink, documents):
        """The state that every round begins with."""
        sink.ask("/_reset")
        self.start()
        sink.wait_for(documents)
        archive = self.state / "elasticsearch.archive.json"
        settled, began = None, time.monotonic()
        while settled is None or settled != (now := states(self.state)) or not archive.exists():
            settled = states(self.state)
            if time.monotonic() - began > PATIENCE_S:
                sys.exit("start.py: the checkpoint does not come to rest")
            time.sleep(2.5)
        self.kill()
        shutil.copytree(self.state, self.saved)

    def round(self, sink):
        shutil.rmtree(self.state)
        shutil.copytree(self.saved, self.state)
        sink.ask("/_reset")
        began = sink.ask("/_stats")["now_s"]
        self.start()
        stats = sink.wait_for(1)
        peak = self.peak_kib()
        user, system = self.kill()
        self.runs.append({"wall_ms": (stats["first_s"] - began) * 1e3, "user_ms": user, "sys_ms": system,
                          "cpu_ms": user + system, "peak_rss_mib": peak / 1024})


def states(folder):
    return sorted((entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(folder) if entry.is_file())


def floor(logs):
    """Names and looks alone, without anything remembered: milliseconds of the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    folder = os.open(logs, os.O_RDONLY)
    for name in os.listdir(folder):
        os.stat(name, dir_fd=folder)
    os.close(folder)
    return {"wall_ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3}


def medians(runs):
    return {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="tidegate-start-") as work:
        work = pathlib.Path(work)
        logs = work / "logs"
        logs.mkdir()
        growth = write_files(logs, args.files)
        live, documents = logs / "flows.log", args.files * LINES_PER_FILE + 1
        sink = Sink(args.sink)
        try:
            for number in range(len(args.agent)):
                (work / str(number)).mkdir()
            agents = [Agent(program, work / str(number), logs, sink) for number, program in enumerate(args.agent)]
            for agent in agents:
                agent.read_all(sink, documents)
            with open(live, "ab") as file:
                file.write(growth)
            floors = []
            for _ in range(args.rounds):
                floors.append(floor(logs))
                for agent in agents:
                    agent.round(sink)
        finally:
            sink.stop()
    least, missed = medians(floors), False
    for agent in agents:
        line = medians(agent.runs)
        missed |= args.max_wall is not None and line["wall_ms"] > args.max_wall
        print(json.dumps({"agent": str(agent.program), "files": args.files, "rounds": args.rounds, **line,
                          "least_wall_ms": round(min(run["wall_ms"] for run in agent.runs), 1),
                          "cpu_to_first": round(line["cpu_ms"] / medians(agents[0].runs)["cpu_ms"], 2),
                          "floor_wall_ms": least["wall_ms"], "floor_cpu_ms": least["cpu_ms"],
                          "load": round(os.getloadavg()[0], 2)}))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
