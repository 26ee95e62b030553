"""Counts the instructions that a request and a chunk of a stream cost the gateway.

usage: count.py [--gateway NAME=PATH]... [--repeat N] [--only TEXT] [--peers PATH]

The gateway runs under callgrind, which counts from the beginning of a load to its end, so that start
and stop are left out. A request's figure is the count by the number of requests; a chunk's is the
difference of as many streams with 20 and with 120 pieces, by the pieces. Counts hardly depend on
what else the machine does, so that two builds can be told apart by less than their times differ from
run to run. The gateway has one core and so one worker. Several --gateway make one table, with ratios
to the first: all of them are started, and measured in turn. `make bench-count` builds what it needs.
"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "run"))
import run as bench  # noqa: E402

OPENAI, ANTHROPIC = "gpt-4o-mini", "claude-sonnet-4-5"
FEW, MANY = 20, 120  # pieces of a stream
PAUSE = 10  # milliseconds between two pieces: far longer than one takes under valgrind
# heading, model, streamed, of requests or of chunks, pause, requests, at a time
FIGURES = [
    ("JSON request", OPENAI, False, "request", 0, 1000, 1),
    ("streamed request", OPENAI, True, "request", 0, 1000, 1),
    ("converted request", ANTHROPIC, True, "request", 0, 1000, 1),
    ("chunk, burst", OPENAI, True, "chunk", 0, 200, 1),
    ("chunk, paced", OPENAI, True, "chunk", PAUSE, 40, 4),
    ("converted chunk, burst", ANTHROPIC, True, "chunk", 0, 200, 1),
    ("converted chunk, paced", ANTHROPIC, True, "chunk", PAUSE, 40, 4),
]


class Gateway:
    """A gateway under callgrind, with an upstream of its own."""

    def __init__(self, peers, path):
        self.run = bench.Run(argparse.Namespace(peers=peers, gateway=path, against=None, scale=1))
        self.run.under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.run.folder / 'calls'}"]
        self.to, self.process = bench.address(), None
        try:
            self.process, _ = self.run.launch("uni-api", self.to)
            for model in [OPENAI, ANTHROPIC]:
                self.run.plan(1, 0)
                first = (self.run.folder / f"{model}-True.json").read_text()
                self.run.wait(self.to, "POST", bench.PATH, first, self.process)
                # The first requests open connections and fill caches.
                self.count(model, True, 1, 0, 50, 4)
        except BaseException:
            self.end()
            raise

    def control(self, command):
        # valgrind names its pipe after HOST, which is the gateway's address there.
        env = {"PATH": os.environ["PATH"], "HOST": self.to.split(":")[0]}
        command = ["callgrind_control", command, str(self.process.pid)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def count(self, model, streamed, pieces, pause, requests, conns):
        """The instructions of one load."""
        self.run.plan(pieces, pause)
        self.control("--zero")
        seen = self.run.load(self.to, model, streamed, self.process, count=requests, conns=conns)
        self.control("--dump")
        # A whole answer is one chunk to the load.
        if seen["failed"] or seen["requests"] != requests or seen["chunks"] != requests * pieces:
            raise RuntimeError(f"not what was asked for: {seen}")
        (dump,) = self.run.folder.glob("calls.*")
        found = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
        dump.unlink()
        return int(found.group(1))

    def measure(self, model, streamed, of, pause, requests, conns):
        """What one request or one chunk costs."""
        if of == "request":
            return self.count(model, streamed, 1, pause, requests, conns) / requests
        few, many = (self.count(model, streamed, pieces, pause, requests, conns) for pieces in [FEW, MANY])
        return (many - few) / (requests * (MANY - FEW))

    def end(self):
        if self.process:
            self.run.stop(self.process)
        self.run.end()
        shutil.rmtree(self.run.folder, ignore_errors=True)


def line(cells):
    print(f"{cells[0]:<24}" + "".join(f"{cell:>20}" for cell in cells[1:]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", action="append", metavar="NAME=PATH", help="may be given several times")
    parser.add_argument("--repeat", type=int, default=2, help="how often each figure is measured")
    parser.add_argument("--only", default="", help="the figures that have this in their heading")
    parser.add_argument("--peers", type=pathlib.Path, default=bench.PEERS)
    options = parser.parse_args()
    paths = options.gateway or [f"uni-api={bench.TARGET / 'release' / 'uni-api'}"]
    paths = dict(word.split("=", 1) for word in paths)
    first, *others = paths
    # So that no process is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with contextlib.ExitStack() as stack:
        gateways = {}
        for name, path in paths.items():
            gateways[name] = Gateway(options.peers.resolve(), pathlib.Path(path).resolve())
            stack.callback(gateways[name].end)
        print(f"Instructions, medians of {options.repeat} and their spread, benches/gateway.yaml, {os.uname().machine}")
        line([""] + list(gateways) + [f"{name} / {first}" for name in others])
        for heading, *figure in FIGURES:
            if options.only not in heading:
                continue
            seen = {name: [] for name in gateways}
            for _ in range(options.repeat):
                for name, gateway in gateways.items():
                    seen[name].append(gateway.measure(*figure))
            middle = {name: statistics.median(counts) for name, counts in seen.items()}
            spread = {name: (max(counts) - min(counts)) / middle[name] for name, counts in seen.items()}
            cells = [f"{middle[name]:.0f} ({spread[name]:.1%})" for name in gateways]
            line([heading] + cells + [f"{middle[name] / middle[first]:.3f}" for name in others])


if __name__ == "__main__":
    main()
