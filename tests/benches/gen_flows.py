#!/usr/bin/env python3
"""Writes flow-log lines as a busy node's Felix writes them: deterministic, about 1.4 KB a line.

usage: gen_flows.py LINES OUT [--seed N] [--seq] [--level {0,1,2}]

OUT is a file, or - for standard output. A fixed population of 600 pods talks to itself and, in one flow of seven, to the
world; six flows of a hundred are denied. The same arguments always give the same bytes.
"""

import argparse
import json
import random
import sys

NAMESPACES = ["shop", "payments", "ledger", "identity", "search", "ingress-nginx", "kube-system", "monitoring",
              "calico-system", "batch", "ml-serving", "data-platform"]
APPS = ["frontend", "cart", "checkout", "ledger-api", "auth", "indexer", "redis-cache", "postgres", "kafka",
        "coredns", "prometheus", "grafana", "worker", "gateway", "recommender", "notifier"]
ZONES = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
PORTS = [80, 443, 8080, 8443, 5432, 6379, 9092, 53, 9090]
PROCESSES = ["/usr/bin/python3.11", "/usr/sbin/nginx", "/app/server", "/usr/lib/jvm/java-17/bin/java", "/coredns"]
HEX, POD_ALPHABET = "0123456789abcdef", "bcdfghjklmnpqrstvwxz2456789"
HOST = "ip-10-0-37-112.eu-west-1.compute.internal"
POD_COUNT = 600
FIRST_START = 1760000000
LINES_A_SECOND = 400
WINDOW = 300
# What each aggregation level leaves out, by level.
AGGREGATED = {
    0: {},
    1: {"source_port": None},
    2: {"source_port": None, "source_ip": None, "dest_ip": None, "source_name": "-", "dest_name": "-"},
}


def word(rng, alphabet, length):
    return "".join(rng.choice(alphabet) for _ in range(length))


def make_pod(rng, number):
    namespace, app = rng.choice(NAMESPACES), rng.choice(APPS)
    template = word(rng, HEX, 10)
    labels = [f"app={app}", f"pod-template-hash={template}", f"zone={rng.choice(ZONES)}"]
    if number % 3 == 0:
        labels.append(f"tier={'backend' if number % 2 else 'edge'}")
    if number % 7 == 0:
        labels.append(f"security.example.com/classification={rng.choice(['pci', 'internal', 'public'])}")
    if number % 6 == 0:
        labels.append(f"app.kubernetes.io/version=v{rng.randint(1, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 9)}")
    return {
        "ns": namespace, "app": app, "aggr": f"{app}-{template}-*",
        "name": f"{app}-{template}-{word(rng, POD_ALPHABET, 5)}",
        "ip": f"10.{rng.randint(64, 127)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}",
        "labels": {"labels": labels}, "port": rng.choice(PORTS), "process": rng.choice(PROCESSES),
    }


def make_policies(rng, number, dest, action):
    trace = [f"0|security|security.default-egress|pass|{rng.randint(0, 3)}",
             f"1|platform|{dest['ns']}/platform.allow-{dest['app']}|{action}|{rng.randint(0, 5)}"]
    if rng.random() < 0.5:
        trace.append(f"2|default|{dest['ns']}/knp.default.{dest['app']}-ingress|{action}|0")
    if action == "allow":
        trace.append(f"{len(trace)}|__PROFILE__|__PROFILE__.kns.{dest['ns']}|allow|0")
    if number % 8:
        return {"all_policies": trace}
    return {"all_policies": trace, "enforced_policies": trace, "pending_policies": trace[-1:],
            "transit_policies": None}


def world(rng):
    return f"{rng.randint(11, 220)}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def make_flow(rng, pods, number, later):
    # The order of the draws is part of the output: a draw moved is another file.
    source, dest = rng.choice(pods), rng.choice(pods)
    outside = rng.random() < 0.15
    action = "deny" if rng.random() < 0.06 else "allow"
    reporter = "src" if rng.random() < 0.5 else "dst"
    start = FIRST_START + later + number // LINES_A_SECOND
    policies = make_policies(rng, number, dest, action)
    flows, packets_in, packets_out = rng.randint(1, 40), rng.randint(1, 4000), rng.randint(1, 4000)
    tcp = dest["port"] != 53
    flow = {
        "start_time": start, "end_time": start + WINDOW,
        "source_ip": source["ip"], "source_name": source["name"], "source_name_aggr": source["aggr"],
        "source_namespace": source["ns"], "nat_outgoing_ports": None,
        "source_port": rng.randint(32768, 60999), "source_type": "wep", "source_labels": source["labels"],
        "dest_ip": world(rng) if outside else dest["ip"],
        "dest_name": "-" if outside else dest["name"], "dest_name_aggr": "pub" if outside else dest["aggr"],
        "dest_namespace": "-" if outside else dest["ns"], "dest_port": dest["port"],
        "dest_type": "net" if outside else "wep", "dest_labels": None if outside else dest["labels"],
        "dest_service_namespace": "-" if outside else dest["ns"],
        "dest_service_name": "-" if outside else dest["app"],
        "dest_service_port": "-" if outside else "http",
        "dest_service_port_num": None if outside else dest["port"],
        "dest_domains": [f"api.partner{rng.randint(1, 40)}.example.net"] if outside else None,
        "proto": "tcp" if tcp else "udp", "action": action, "reporter": reporter, "policies": policies,
        "bytes_in": packets_in * rng.randint(60, 1400), "bytes_out": packets_out * rng.randint(60, 1400),
        "num_flows": flows, "num_flows_started": rng.randint(0, flows), "num_flows_completed": rng.randint(0, flows),
        "packets_in": packets_in, "packets_out": packets_out,
        "process_name": source["process"], "num_process_names": 1,
        "process_id": str(rng.randint(1, 99999)), "num_process_ids": 1,
        "process_args": ["-"], "num_process_args": 0,
    }
    if tcp and rng.random() < 0.2:
        flow.update(
            tcp_mean_send_congestion_window=10, tcp_min_send_congestion_window=10,
            tcp_mean_smooth_rtt=rng.randint(50, 9000), tcp_max_smooth_rtt=rng.randint(9000, 90000),
            tcp_mean_mss=1398, tcp_min_mss=536, tcp_total_retransmissions=rng.randint(0, 9))
    flow["host"] = HOST
    return flow


def write(out, args):
    rng = random.Random(args.seed)
    pods = [make_pod(rng, number) for number in range(POD_COUNT)]
    for number in range(args.lines):
        flow = make_flow(rng, pods, number, args.later)
        flow.update(AGGREGATED[args.level])
        if args.seq:
            flow["bench_seq"] = number
        out.write(json.dumps(flow, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=int, metavar="LINES")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--seed", type=int, default=7, help="another seed is another node (default 7)")
    parser.add_argument("--later", type=int, default=0, metavar="SECONDS", help="everything happens so much later (default 0)")
    parser.add_argument("--seq", action="store_true", help='add "bench_seq":N, which bulk_sink --seq looks for')
    parser.add_argument("--level", type=int, choices=AGGREGATED, default=0, help="aggregation level (default 0)")
    args = parser.parse_args()
    if args.out == "-":
        write(sys.stdout, args)
    else:
        with open(args.out, "w", buffering=1 << 20, encoding="utf-8") as out:
            write(out, args)


if __name__ == "__main__":
    main()
