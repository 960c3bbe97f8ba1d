"""Reads CEF records (one a line) with a parser that is not ours, writes the extension of each as one JSON object a line."""
import json
import os
import re
import subprocess
import sys


def cefp(record):
    from cefp import CEFParser
    return CEFParser.parse(record)["extension"]


def liblognorm(record):
    # liblognorm 2.0.6 eats the first letter of the first key unless a space stands before it.
    header = re.match(r"(?:(?:\\.|[^|\\])*\|){7}", record)[0]
    rules = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cef.rulebase")
    run = subprocess.run(["lognormalizer", "-r", rules, "-e", "json"], capture_output=True, check=False,
                         input=(header + " " + record[len(header):] + "\n").encode())
    parsed = json.loads(run.stdout)
    if "cef" not in parsed:
        raise ValueError(f"liblognorm does not take {record!r}: {parsed}")
    return parsed["cef"]["Extensions"]


parser = {"cefp": cefp, "liblognorm": liblognorm}[sys.argv[1]]
for line in sys.stdin.buffer.read().decode().split("\n"):
    if line:
        print(json.dumps(parser(line), ensure_ascii=False, sort_keys=True))
