"""Writes request.ld, which puts the functions that serve a request side by side in the binary.

usage: layout.py [--gateway PATH] [--peers PATH] [--out FILE]

A request that comes alone finds nothing in the processor's caches, and what it costs is decided by
how many pages and cache lines it touches. The compiler places functions by where they were written:
those of one request lie scattered over the whole binary, a page for each of them. This program
counts under valgrind what streams, whole answers and converted streams call for each request, and
lists it for the linker in the order of the calls. `make bench-layout` builds what it needs: a gateway
with symbols and UNI_API_LAYOUT=plain, since valgrind knows no second section of code.

The list holds names without their hashes, so it outlives releases of compiler and crates. Names that
do not exist any more do no harm: their functions lie where the compiler puts them.
"""
import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "run"))
import run as bench  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
# Each is a load: model, streamed, requests a second. What comes first lies first.
LOADS = [("gpt-4o-mini", True), ("gpt-4o-mini", False), ("claude-sonnet-4-5", True)]
RATE, SECONDS = 20, 6
# A function belongs to the path when it is called for more than half of the requests.
ENOUGH = RATE * SECONDS // 2
HASH = re.compile(r"17h[0-9a-f]{16}E")
HEAD = """/* Written by benches/layout/layout.py, which says why. */
SECTIONS
{
  .text.request :
  {
"""
TAIL = """  }
}
INSERT BEFORE .text;
"""


def profile(options, model, streamed):
    """What one load calls, as callgrind tells it."""
    run = bench.Run(argparse.Namespace(peers=options.peers, gateway=options.gateway, against=None, scale=1))
    out = run.folder / "calls"
    run.under = ["valgrind", "--tool=callgrind", "--demangle=no", f"--callgrind-out-file={out}"]
    to = bench.address()
    gateway, _ = run.launch("uni-api", to)
    try:
        run.plan(20, 5)
        run.wait(to, "POST", bench.PATH, (run.folder / f"{model}-{streamed}.json").read_text(), gateway)
        run.load(to, model, streamed, gateway, rate=RATE, secs=SECONDS)
        run.stop(gateway)
        return out.read_text(errors="replace")
    finally:
        run.stop(gateway)
        run.stop(run.provider)
        shutil.rmtree(run.folder, ignore_errors=True)


def path(calls):
    """The functions that are called for every request, callees behind their callers."""
    names, times, callees = {}, collections.Counter(), {}

    def name(text):
        number, _, full = text.strip().partition(" ")
        if full:
            # Recursion is told by an appendix.
            names[number] = full.split("'")[0]
        return names[number]

    caller = callee = None
    for line in calls.splitlines():
        key, _, value = line.partition("=")
        if key == "fn":
            caller = name(value)
        elif key == "cfn":
            callee = name(value)
        elif key == "calls":
            times[callee] += int(value.split()[0])
            callees.setdefault(caller, {})[callee] = True
    hot = {symbol: True for symbol, count in times.items() if count >= ENOUGH}
    called = {callee for caller in hot for callee in callees.get(caller, {})}
    # A stack: those whom nothing of the path calls are begun with.
    order, left = {}, sorted(hot, key=lambda symbol: symbol not in called)
    while left:
        symbol = left.pop()
        if symbol in hot and symbol not in order:
            order[symbol] = True
            left += reversed(callees.get(symbol, {}))
    return order


def sizes(gateway):
    """Of each name without the compiler's hash: the functions that have it, with their sizes."""
    out = subprocess.run(["nm", "-S", gateway], capture_output=True, text=True, check=True).stdout
    found = collections.defaultdict(dict)
    for words in map(str.split, out.splitlines()):
        if len(words) == 4:
            found[short(words[3])][words[3]] = int(words[1], 16)
    return found


def short(symbol):
    """A name without the hash, which changes with every version of everything."""
    return HASH.sub("17h*E", symbol)


def patterns(symbols, gateway):
    """The names of the sections. A name that only one function has comes in the order of the calls;
    behind them those of generic functions, which bring instances along that no request calls: the
    fewer of these bytes, the earlier."""
    found = sizes(gateway)
    wanted = collections.Counter()
    for symbol in symbols:
        wanted[short(symbol)] += found[short(symbol)].get(symbol, 0)
    dilution = {name: sum(found[name].values()) / size for name, size in wanted.items() if size}
    return sorted(dilution, key=dilution.get)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=pathlib.Path, default=bench.TARGET / "release" / "uni-api")
    parser.add_argument("--peers", type=pathlib.Path, default=bench.PEERS)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "request.ld")
    options = parser.parse_args()
    options.gateway, options.peers = options.gateway.resolve(), options.peers.resolve()
    found = {}
    for model, streamed in LOADS:
        found |= path(profile(options, model, streamed))
    # Functions of C have no section of their own.
    found = patterns([symbol for symbol in found if symbol.startswith(("_ZN", "_R"))], options.gateway)
    lines = "".join(f"    *(.text.{name} .text.unlikely.{name})\n" for name in found)
    options.out.write_text(HEAD + lines + TAIL)
    print(f"{len(found)} functions: {options.out}")


if __name__ == "__main__":
    main()
