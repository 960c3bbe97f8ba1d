#!/usr/bin/env python3
"""What our ids cost against automatic ones: indexing rate and size on a real server, with our documents and templates.

usage: ids.py [--agent target/release/tidegate] [--url URL] [--opensearch] [--lines 20000] [--rounds 6] [--batch 2000] [--nodes 1]

Rounds alternate between the two kinds of id within one run, each kind in a stream of its own; every round sends new
documents. With several nodes their requests take turns, as a server meets them. Without --url a server is started by tests/servers and stopped again. Prints one JSON line.
"""

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gen_flows

ROOT = Path(__file__).resolve().parent.parent.parent
# What the small test server lacks, and what stands in for it (as tests/integration/support/reduce.rs).
TYPES = {"constant_keyword": "keyword", "match_only_text": "text", "wildcard": "keyword", "scaled_float": "double", "version": "keyword"}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--agent", default=ROOT / "target/release/tidegate", type=Path)
    p.add_argument("--url")
    p.add_argument("--opensearch", action="store_true")
    p.add_argument("--lines", type=int, default=20_000, help="documents a round")
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--batch", type=int, default=2_000)
    p.add_argument("--nodes", type=int, default=1)
    a = p.parse_args()
    kind = "opensearch" if a.opensearch else "elasticsearch"
    told = json.loads(run([ROOT / f"tests/servers/start-{kind}"])) if not a.url else {"url": a.url}
    try:
        print(json.dumps(compare(a, kind, Server(told["url"]))))
    finally:
        if "data" in told:
            run([ROOT / "tests/servers/stop", told["data"]])


def compare(a, kind, server):
    install(server, kind)
    streams = {"automatic": "logs-calico.flow-bench_automatic", "ours": "logs-calico.flow-bench_ours"}
    rates, lines = {name: [] for name in streams}, 0
    for number in range(a.rounds):
        batches = mixed([flows(a, number, node) for node in range(a.nodes)], a.batch)
        lines += sum(map(len, batches))
        # The kind that comes first changes, so that warming up favours neither.
        for name in sorted(streams, reverse=number % 2 == 1):
            rates[name].append(round(send(server, streams[name], batches, name == "ours")))
    sizes = {name: size(server, stream) for name, stream in streams.items()}
    for name, (count, _) in sizes.items():
        assert count == lines, f"{name}: {count} of {lines} documents arrived"
    median = {name: statistics.median(rates[name]) for name in streams}
    return {
        "server": kind,
        "nodes": a.nodes,
        "rounds": a.rounds,
        "documents_a_round": a.lines,
        "documents_per_second": rates,
        "ours_to_automatic": round(median["ours"] / median["automatic"], 3),
        "bytes_per_document": {name: round(total / count) for name, (count, total) in sizes.items()},
    }


def flows(a, number, node):
    """(id, document) of new flows of one node, as its agent makes them: those of a round happen after all of the round before,
    as ids begin with the event's time and a server is quicker to see that one is new where it is the latest."""
    seed, lines = number * a.nodes + node, a.lines // a.nodes
    later = number * (lines // gen_flows.LINES_A_SECOND + 1)
    with tempfile.NamedTemporaryFile() as raw:
        run([sys.executable, ROOT / "tests/benches/gen_flows.py", lines, raw.name, "--seed", seed, "--later", later])
        text = subprocess.run([a.agent, "convert", "--to", "ecs", "--node", f"node-{node}"], stdin=open(raw.name, "rb"),
                              check=True, capture_output=True).stdout
    return [(json.loads(line)["event"]["id"], line) for line in text.splitlines()]


def mixed(nodes, batch):
    """The batches of all nodes, one of each after the other."""
    cut = [[documents[start:start + batch] for start in range(0, len(documents), batch)] for documents in nodes]
    return [batch for turn in itertools.zip_longest(*cut) for batch in turn if batch]


def send(server, stream, batches, ours):
    action = (lambda i: b'{"create":{"_id":"%s"}}\n' % i.encode()) if ours else (lambda _: b'{"create":{}}\n')
    bodies = [b"".join(action(i) + line + b"\n" for i, line in batch) for batch in batches]
    began = time.monotonic()
    for body in bodies:
        answer = server.call("POST", f"/{stream}/_bulk?filter_path=errors,items.*.error.type", body)
        assert not answer["errors"], str(answer)[:500]
    return sum(map(len, batches)) / (time.monotonic() - began)


def size(server, stream):
    server.call("POST", f"/{stream}/_forcemerge?max_num_segments=1")
    server.call("POST", f"/{stream}/_refresh")
    stats = server.call("GET", f"/{stream}/_stats/docs,store")["_all"]["primaries"]
    return stats["docs"]["count"], stats["store"]["size_in_bytes"]


def install(server, kind):
    """The shipped templates, without what the small server lacks and without waiting copies."""
    for file, path in [("component-settings", "_component_template/logs-calico.flow@settings"),
                       ("component-mappings", "_component_template/logs-calico.flow@mappings"),
                       ("index-template", "_index_template/logs-calico.flow")]:
        body = json.loads((ROOT / f"mappings/{kind}/{file}.json").read_text())
        server.call("PUT", f"/{path}", json.dumps(reduced(body) if kind == "elasticsearch" else body).encode())


def reduced(value):
    if isinstance(value, list):
        return [reduced(v) for v in value]
    if not isinstance(value, dict):
        return value
    value = {k: reduced(v) for k, v in value.items() if k != "lifecycle"}
    if isinstance(value.get("type"), str) and value["type"] in TYPES:
        value = {k: v for k, v in value.items() if k not in ("value", "scaling_factor")} | {"type": TYPES[value["type"]]}
    return value


class Server:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)

    def call(self, method, path, body=None):
        kind = "application/x-ndjson" if "_bulk" in path else "application/json"
        self.connection.request(method, path, body, {"content-type": kind})
        response = self.connection.getresponse()
        text = response.read()
        assert response.status < 300, f"{method} {path}: {response.status} {text[:500]!r}"
        return json.loads(text)


def run(command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE).stdout


main()
