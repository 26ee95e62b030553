"""Counts the instructions that a request and a chunk of a stream cost the gateway.

usage: count.py [--gateway NAME=PATH]... [--repeat N] [--only TEXT] [--peers PATH]

Each figure is the difference of two runs under callgrind that differ in how much they do, so that
start and end cancel: of N and 3N requests for a request, of as many streams with 20 and with 120
pieces for a chunk. Counts hardly depend on what else the machine does, so that two builds can be
told apart by less than their times differ from run to run. The gateway has one core and so one
worker. Several --gateway make one table, with ratios to the first; they need UNI_API_LAYOUT=plain,
since valgrind knows no second section of code. `make bench-count` builds what it needs.
"""
import argparse
import pathlib
import re
import signal
import statistics
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ["run", "layout"]]
import layout  # noqa: E402
import run as bench  # noqa: E402

OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-sonnet-4-5"
FEW, MANY = 20, 120  # pieces of a stream
# Milliseconds between two pieces: far longer than one takes under valgrind.
PAUSE = 10
# heading, model, streamed, of requests or of chunks, pause, requests of the smaller run, at a time
FIGURES = [
    ("JSON request", OPENAI, False, "request", 0, 200, 1),
    ("streamed request", OPENAI, True, "request", 0, 200, 1),
    ("converted request", ANTHROPIC, True, "request", 0, 200, 1),
    ("chunk, burst", OPENAI, True, "chunk", 0, 100, 1),
    ("chunk, paced", OPENAI, True, "chunk", PAUSE, 24, 4),
    ("converted chunk, burst", ANTHROPIC, True, "chunk", 0, 100, 1),
    ("converted chunk, paced", ANTHROPIC, True, "chunk", PAUSE, 24, 4),
]


def instructions(peers, gateway, model, streamed, pieces, pause, count, conns):
    """Of one run, from start to end."""
    calls, seen = layout.profile(peers, gateway, model, streamed, (pieces, pause), count=count, conns=conns)
    # Whole answers count as one chunk.
    if seen["failed"] or seen["requests"] != count or seen["chunks"] != count * pieces:
        sys.exit(f"{gateway}: not what was asked for: {seen}")
    return int(re.search(r"^(?:summary|totals): (\d+)", calls, re.MULTILINE).group(1))


def measure(peers, gateway, model, streamed, of, pause, count, conns):
    """What one request or one chunk adds."""
    little, much = ((count, 1), (3 * count, 1)) if of == "request" else ((count, FEW), (count, MANY))
    counts = [
        instructions(peers, gateway, model, streamed, pieces, pause, requests, conns)
        for requests, pieces in [little, much]
    ]
    return (counts[1] - counts[0]) / (much[0] * much[1] - little[0] * little[1])


def line(cells):
    print(f"{cells[0]:<24}" + "".join(f"{cell:>22}" for cell in cells[1:]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", action="append", metavar="NAME=PATH", help="may be given several times")
    parser.add_argument("--repeat", type=int, default=2, help="how often each figure is measured")
    parser.add_argument("--only", default="", help="the figures that have this in their heading")
    parser.add_argument("--peers", type=pathlib.Path, default=bench.PEERS)
    options = parser.parse_args()
    gateways = {}
    for word in options.gateway or [f"uni-api={bench.TARGET / 'release' / 'uni-api'}"]:
        name, _, path = word.partition("=")
        gateways[name] = pathlib.Path(path).resolve()
    # So that the finally blocks run and no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"Instructions, medians of {options.repeat} and how far they lie apart, benches/gateway.yaml")
    first, *others = gateways
    line([""] + list(gateways) + [f"{name} / {first}" for name in others])
    for heading, *figure in FIGURES:
        if options.only not in heading:
            continue
        seen = {name: [] for name in gateways}
        for _ in range(options.repeat):
            for name, path in gateways.items():
                seen[name].append(measure(options.peers.resolve(), path, *figure))
        middle = {name: statistics.median(counts) for name, counts in seen.items()}
        spread = {name: (max(counts) - min(counts)) / middle[name] for name, counts in seen.items()}
        cells = [f"{middle[name]:.0f} ({spread[name]:.2%})" for name in gateways]
        line([heading] + cells + [f"{middle[name] / middle[first]:.3f}" for name in others])


if __name__ == "__main__":
    main()
