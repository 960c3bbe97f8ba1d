#!/usr/bin/env python3
"""Bytes on disk and documents a second of our documents on real servers, for what `tidegate setup` lets one choose.

usage: disk.py [--lines N] [--level {0,1,2}] [--tidegate PATH] [--rounds N] [--only elasticsearch|opensearch]

Generated flow-log lines (gen_flows.py) become documents by `tidegate convert` and go with their ids, 2,000 a request, into a
data stream made from the exported templates; then the stream is merged to one segment and measured. The servers are those of
tests/servers. Elasticsearch's small distribution lacks some types: they are replaced as the tests do, and it is said.
Prints a table in Markdown. Needs Python 3.9 and what tests/servers needs.
"""
import argparse, gzip, json, os, pathlib, subprocess, sys, tempfile, time, urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SERVERS = HERE.parent / "servers"
# What stands in for a type that the small Elasticsearch lacks: tests/integration/support/reduce.rs.
STANDS_IN = {"constant_keyword": "keyword", "match_only_text": "text"}
VARIANTS = {
    "elasticsearch": [["--codec", "default"], [], ["--index-mode", "logsdb"]],
    "opensearch": [["--codec", "default"], []],
}
BATCH = 2000


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
    """Puts the exported templates; the setting that names the choice."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([tidegate, "setup", "--export", folder, "--for", product, "--lifecycle", "none", "--only", "templates",
                        *choice], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
    for body in bodies:
        answer = call(url, "POST", f"/{stream}/_bulk?filter_path=errors,items.*.error", body, "application/x-ndjson")
        if answer["errors"]:
            sys.exit(f"refused: {json.dumps(answer)[:500]}")
    return time.monotonic() - began


def measure(url, product, choice, number, bodies, count, tidegate):
    install(url, product, choice, tidegate)
    stream = f"logs-calico.flow-bench{number}"
    seconds = load(url, stream, bodies)
    call(url, "POST", f"/{stream}/_flush?wait_if_ongoing=true")
    call(url, "POST", f"/{stream}/_forcemerge?max_num_segments=1")
    call(url, "POST", f"/{stream}/_refresh")
    total = call(url, "GET", f"/{stream}/_stats/store,docs")["_all"]["primaries"]
    if total["docs"]["count"] != count:
        sys.exit(f"{total['docs']['count']} of {count} documents are there")
    settings = next(iter(call(url, "GET", f"/{stream}/_settings?include_defaults=true&flat_settings=true").values()))
    source = {**settings["defaults"], **settings["settings"]}.get("index.mapping.source.mode", "stored")
    return total["store"]["size_in_bytes"] / count, count / seconds, source.lower()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--level", default="0", choices=["0", "1", "2"], help="aggregation level of the flow log")
    parser.add_argument("--rounds", type=int, default=3, help="the best speed of them is shown")
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
    print("| server | choice | `_source` | bytes a document on disk | documents/s |\n|---|---|---|---|---|")
    for product, choices in VARIANTS.items():
        if args.only not in (None, product):
            continue
        line = subprocess.run([SERVERS / f"start-{product}", "--heap", "1g", "--timeout", "400"], check=True, stdout=subprocess.PIPE).stdout
        server = json.loads(line)
        try:
            rows = {}
            for turn in range(args.rounds):
                for number, choice in enumerate(choices):
                    stream = number * 100 + turn
                    size, speed, source = measure(server["url"], product, choice, stream, bodies, count, args.tidegate)
                    best = max(speed, rows[number][1]) if number in rows else speed
                    rows[number] = (size, best, source)
            for number, choice in enumerate(choices):
                size, speed, source = rows[number]
                words = " ".join(choice) or "(the default)"
                print(f"| {product} {server['version']} | `{words}` | {source} | {size:.0f} | {speed:,.0f} |", flush=True)
        finally:
            if server.get("data"):
                subprocess.run([SERVERS / "stop", server["data"]], check=False)


if __name__ == "__main__":
    os.environ.pop("TEST_ELASTICSEARCH_URL", None)
    os.environ.pop("TEST_OPENSEARCH_URL", None)
    main()
