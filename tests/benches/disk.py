#!/usr/bin/env python3
"""Bytes on disk and speed of our documents on real servers, for what `tidegate setup` lets one choose.

usage: disk.py [--lines N] [--level {0,1,2}] [--tidegate PATH] [--rounds N] [--only elasticsearch|opensearch]

Generated flow-log lines (gen_flows.py) become documents by `tidegate convert` and go with their ids, 2,000 a request, into a
data stream made from the exported templates. It is measured as it was written and merged to one segment. The choices take turns
within a round, and medians over the rounds are shown. What indexing costs is the CPU time of the server's process, which other
work on the machine touches less than documents a second; with its ratio to the first choice. The servers are those of
tests/servers. Elasticsearch's small distribution lacks some types: they are replaced as the tests do.
Prints a table in Markdown. Needs Python 3.9 and what tests/servers needs.
"""
import argparse, gzip, json, os, pathlib, statistics, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = HERE.parent / "servers"
# What stands in for a type that the small Elasticsearch lacks: tests/integration/support/reduce.rs. A constant of the real
# type costs nothing; here it does.
STANDS_IN = {"constant_keyword": "keyword", "match_only_text": "text"}
LOGSDB = ["--index-mode", "logsdb"]
# The flags of `setup`, and settings of the users' own component template.
VARIANTS = {
    "elasticsearch": [(["--codec", "default"], {}), ([], {}), (LOGSDB, {}), (LOGSDB, {"index.mapping.source.mode": "stored"})],
    "opensearch": [(["--codec", "default"], {}), ([], {})],
}
BATCH = 2000
# Requests between two refreshes: the templates refresh every 10 seconds, and 1,000 flows a second is a mid-sized cluster.
REFRESH = 5


def call(url, method, path, body=None, kind="application/json"):
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def reduced(value):
    if isinstance(value, dict):
        # A field may itself be named `type`.
        if isinstance(value.get("type"), str) and value["type"] in STANDS_IN:
            return {"type": STANDS_IN[value["type"]]}
        return {key: reduced(child) for key, child in value.items()}
    return value


def install(url, product, choice, tidegate):
    """Puts the exported templates, and beside them what a user would add."""
    flags, custom = choice
    if product == "elasticsearch":  # OpenSearch would want its name in the index template.
        call(url, "PUT", "/_component_template/logs-calico.flow@custom", {"template": {"settings": custom}})
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([tidegate, "setup", "--export", folder, "--for", product, "--lifecycle", "none", "--only", "templates",
                        *flags], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for file in sorted(pathlib.Path(folder).glob("*.json")):
            name = file.stem.split("-template-", 1)[1]
            place = "_component_template" if "component" in file.stem else "_index_template"
            body = json.loads(file.read_text())
            call(url, "PUT", f"/{place}/{name}", reduced(body) if product == "elasticsearch" else body)


def batches(documents):
    for start in range(0, len(documents), BATCH):
        lines = []
        for text in documents[start:start + BATCH]:
            lines.append(json.dumps({"create": {"_id": json.loads(text)["event"]["id"]}}))
            lines.append(text)
        yield "\n".join(lines) + "\n"


def load(url, stream, bodies):
    """Seconds to index it all."""
    began = time.monotonic()
    for number, body in enumerate(bodies, 1):
        answer = call(url, "POST", f"/{stream}/_bulk?filter_path=errors,items.*.error", body, "application/x-ndjson")
        if answer["errors"]:
            sys.exit(f"refused: {json.dumps(answer)[:500]}")
        if number % REFRESH == 0:
            call(url, "POST", f"/{stream}/_refresh")
    return time.monotonic() - began


def stored(url, stream, count):
    """Bytes a document."""
    total = call(url, "GET", f"/{stream}/_stats/store,docs")["_all"]["primaries"]
    if total["docs"]["count"] != count:
        sys.exit(f"{total['docs']['count']} of {count} documents are there")
    return total["store"]["size_in_bytes"] / count


def cpu_ms(url):
    """CPU time of the server's process so far."""
    node = next(iter(call(url, "GET", "/_nodes/stats/process")["nodes"].values()))
    return node["process"]["cpu"]["total_in_millis"]


def measure(url, product, choice, number, bodies, count, tidegate):
    """Bytes a document as written and merged, documents a second, CPU microseconds a document, and where `_source` comes from."""
    install(url, product, choice, tidegate)
    stream = f"logs-calico.flow-bench{number}"
    before = cpu_ms(url)
    seconds = load(url, stream, bodies)
    call(url, "POST", f"/{stream}/_refresh")
    call(url, "POST", f"/{stream}/_flush?wait_if_ongoing=true")
    cpu = (cpu_ms(url) - before) * 1000 / count
    written = stored(url, stream, count)
    call(url, "POST", f"/{stream}/_forcemerge?max_num_segments=1")
    call(url, "POST", f"/{stream}/_refresh")
    merged = stored(url, stream, count)
    settings = next(iter(call(url, "GET", f"/{stream}/_settings?include_defaults=true&flat_settings=true").values()))
    source = {**settings["defaults"], **settings["settings"]}.get("index.mapping.source.mode", "stored")
    return written, merged, count / seconds, cpu, source.lower()


def rows(rounds):
    """One row a choice of many rounds of all choices."""
    for choice in zip(*rounds):
        *numbers, source = zip(*choice)
        written, merged, speed, cpu = map(statistics.median, numbers)
        ratio = statistics.median(own[3] / turn[0][3] for own, turn in zip(choice, rounds))
        yield f"{source[0]} | {written:.0f} | {merged:.0f} | {speed:,.0f} | {cpu:.0f} | {ratio:.2f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--level", default="0", choices=["0", "1", "2"], help="aggregation level of the flow log")
    parser.add_argument("--rounds", type=int, default=3, help="medians over them are shown")
    parser.add_argument("--tidegate", default=HERE.parents[1] / "target/debug/tidegate")
    parser.add_argument("--only", choices=VARIANTS)
    args = parser.parse_args()
    flows = subprocess.run([HERE / "gen_flows.py", str(args.lines), "-", "--level", args.level], check=True, capture_output=True).stdout
    convert = [args.tidegate, "convert", "--to", "ecs", "--cluster", "bench", "--node", "bench"]
    documents = subprocess.run(convert, input=flows, check=True, capture_output=True).stdout.decode().splitlines()
    bodies = list(batches(documents))
    raw, wire = sum(map(len, bodies)), sum(len(gzip.compress(body.encode(), 1)) for body in bodies)
    count = len(documents)
    print(f"{count:,} documents of level {args.level}: line {len(flows) / count:.0f} B, document {raw / count:.0f} B with its action line, "
          f"{wire / count:.0f} B on the wire (gzip 1)\n")
    print("| server | choice | `_source` | bytes a document, as written | merged | documents/s | CPU µs a document | to the first |\n"
          "|---|---|---|---|---|---|---|---|")
    for product, choices in VARIANTS.items():
        if args.only not in (None, product):
            continue
        line = subprocess.run([SERVERS / f"start-{product}", "--heap", "1g", "--timeout", "400"], check=True, stdout=subprocess.PIPE).stdout
        server = json.loads(line)
        try:
            rounds = [
                [measure(server["url"], product, choice, turn * 100 + number, bodies, count, args.tidegate)
                 for number, choice in enumerate(choices)]
                for turn in range(args.rounds)
            ]
            for (flags, custom), row in zip(choices, rows(rounds)):
                words = " ".join(flags) or "(the default)"
                words += "".join(f", {name}: {value}" for name, value in custom.items())
                print(f"| {product} {server['version']} | `{words}` | {row} |", flush=True)
        finally:
            if server.get("data"):
                subprocess.run([SERVERS / "stop", server["data"]], check=False)


if __name__ == "__main__":
    os.environ.pop("TEST_ELASTICSEARCH_URL", None)
    os.environ.pop("TEST_OPENSEARCH_URL", None)
    main()
