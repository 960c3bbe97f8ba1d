"""Reads records (one a line) with a parser that is not ours, writes the keys of each as one JSON object a line."""
import json
import os
import re
import subprocess
import sys


def cefp(record):
    from cefp import CEFParser
    return CEFParser.parse(record)["extension"]


def pycef(record):
    from pycef import parse
    found = parse(record)
    header = ("DeviceVendor", "DeviceProduct", "DeviceVersion", "DeviceEventClassID", "Name", "DeviceName", "Severity",
              "DeviceSeverity", "CEFVersion")
    # It names custom keys by their labels, and leaves escapes to its caller.
    unescape = lambda value: re.sub(r"\\([\\=nr])", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), value)
    return {key: unescape(value) for key, value in found.items() if key not in header}


def sd(message):
    from syslog_rfc5424_parser import SyslogMessage
    elements = SyslogMessage.parse(message).sd
    params = next(params for name, params in elements.items() if name.startswith("flow@"))
    # It leaves escapes to its caller.
    return {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in params.items()}


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


parser = {"cefp": cefp, "pycef": pycef, "liblognorm": liblognorm, "sd": sd}[sys.argv[1]]
for line in sys.stdin.buffer.read().decode().split("\n"):
    if line:
        print(json.dumps(parser(line), ensure_ascii=False, sort_keys=True))
