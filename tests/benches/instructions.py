#!/usr/bin/env python3
"""Instructions a line, step by step, by valgrind's callgrind: the same on a busy machine as on an idle one.

usage: instructions.py [--steps PROGRAM] [--input FILE] [--zones FILE] [--check FILE | --write FILE] [STEP…]

Each step is run over 2,000 lines and over 4,000; the difference is what 2,000 lines cost, start and end left out. valgrind
has no SHA instructions, so it counts some hundred more for a community id than the processor does.

--write keeps the counts as a baseline; --check compares with it and ends with 1 when a step costs over 3 % more. One that
costs over 3 % less fails too, so that what was won is not lost again unseen: refresh the baseline with --write. A baseline
belongs to one compiler and one build profile.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
STEPS = ["read", "decode", "id", "community-id", "classify", "cef", "leef", "structured-data", "ecs-json", "ecs", "batch"]
# What a step does before its own work.
BEFORE = {"decode": "read", "id": "decode", "community-id": "decode", "classify": "decode", "cef": "id", "leef": "id",
          "structured-data": "id", "ecs-json": "id", "ecs": "id", "batch": "ecs"}
LINES = 2000
TOLERANCE = 0.03


def count(program, step, lines, data, zones):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, step, str(lines), data, zones]
    run = subprocess.run(command, capture_output=True, text=True)
    counted = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or not counted:
        sys.exit(f"instructions.py: {step} ended with {run.returncode}\n{run.stderr[-1000:]}")
    return int(counted[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=pathlib.Path, default=ROOT / "target/release/examples/steps")
    parser.add_argument("--input", type=pathlib.Path, help="flow lines instead of generated ones")
    parser.add_argument("--zones", type=pathlib.Path, default=ROOT / "fixtures/zones/shop/zones.yaml")
    baseline = parser.add_mutually_exclusive_group()
    baseline.add_argument("--check", type=pathlib.Path, help="compare with this baseline")
    baseline.add_argument("--write", type=pathlib.Path, help="write this baseline")
    parser.add_argument("only", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidegate-steps-") as folder:
        data = args.input or pathlib.Path(folder) / "flows.log"
        if not args.input:
            subprocess.run([sys.executable, HERE / "gen_flows.py", str(2 * LINES), data], check=True)
        wanted = [step for step in STEPS if not args.only or step in args.only]
        needed = [step for step in STEPS if step in wanted or step in {BEFORE.get(s) for s in wanted}]
        cost = {}
        for step in needed:
            few, many = (count(args.steps, step, lines, data, args.zones) for lines in (LINES, 2 * LINES))
            cost[step] = (many - few) / LINES
    own = {step: round(cost[step] - cost.get(BEFORE.get(step), 0)) for step in wanted}
    known = json.loads(args.check.read_text()) if args.check else {}
    for step, count_of_step in own.items():
        against = f"   baseline {known[step]:,}, {count_of_step / known[step] - 1:+.1%}" if step in known else ""
        print(f"{step:14}{count_of_step:10,} instructions a line{against}")
    if args.write:
        args.write.write_text(json.dumps(own, indent=2) + "\n")
    if args.check:
        check(own, known, args.check)


def check(own, known, path):
    if own.keys() != known.keys():
        sys.exit(f"{path} has {sorted(known)}, this run {sorted(own)}")
    moved = [step for step in own if abs(own[step] / known[step] - 1) > TOLERANCE]
    if moved:
        sys.exit(f"more than {TOLERANCE:.0%} from the baseline: {', '.join(moved)}. If this is meant: --write {path}")


if __name__ == "__main__":
    main()
