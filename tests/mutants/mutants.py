"""Breaks the codecs in small ways, one at a time: each must fail a test.

usage: mutants.py [WORD]

The table is `mutants.json`: for each codec a list of `[file, old, new]`, the file below `layers/dialect/src`; `old` must
stand there once. Only those with WORD in their file are tried. Only the tests of `dialect` run, without those that take
mutated inputs. A file is put back before the next is broken, also when the run is stopped. CARGO names the program.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "layers/dialect/src"
TESTS = "nextest run -p dialect --lib --tests --fail-fast -E".split() + ["not test(fuzzed)"]


def survives(file, old, new):
    """Whether all tests pass although a file is broken."""
    path = SOURCES / file
    whole = path.read_text()
    if whole.count(old) != 1:
        sys.exit(f"{file}: stands there {whole.count(old)} times: {old!r}")
    try:
        path.write_text(whole.replace(old, new))
        run = subprocess.run([os.environ.get("CARGO", "cargo"), *TESTS], cwd=ROOT, capture_output=True, text=True)
    finally:
        path.write_text(whole)
    if "could not compile" in run.stderr:
        sys.exit(f"{file}: does not compile: {new!r}\n{run.stderr[-2000:]}")
    return run.returncode == 0


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    table = json.loads((Path(__file__).parent / "mutants.json").read_text())
    few = [name for name, mutants in table.items() if len(mutants) < 10]
    if few:
        sys.exit(f"fewer than ten mutants: {', '.join(few)}")
    for file, old, _ in [mutant for mutants in table.values() for mutant in mutants]:
        if (SOURCES / file).read_text().count(old) != 1:
            sys.exit(f"{file}: this stands there not once: {old!r}")
    tried, left = 0, []
    for file, old, new in [mutant for mutants in table.values() for mutant in mutants if word in mutant[0]]:
        tried += 1
        alive = survives(file, old, new)
        print(f"{'SURVIVED' if alive else 'failed a test'}: {file}: {old!r} -> {new!r}", flush=True)
        left += [file] if alive else []
    print(f"{tried} mutants, {len(left)} survived")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
