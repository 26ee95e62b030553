"""Breaks the codecs in small ways: each must fail a test.

usage: mutants.py [WORD …]

The table is `mutants.json`: for each codec a list of `[file, old, new]`, the file below `layers/dialect/src`; `old` must
stand there once. Only those with a WORD in the codec's name or in their file are tried. Only the tests of `dialect` run,
without those that take mutated inputs or the SDKs of providers. Codecs that know nothing of each other are broken
together, one mutant in each: a test counts for the codec whose module it stands in, or whose recorded case it names.
All of it is done in a copy below `target/mutants`, so that nothing here changes and one may work on meanwhile. CARGO
names the program.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "target/mutants/tree"
SOURCES = "layers/dialect/src"
TESTS = "nextest run -p dialect --lib --test dialect --no-fail-fast -E".split()
TESTS.append("not (test(fuzzed) or test(robustness) or test(requests))")
# Codecs that are broken together, each with those that its tests are shared with.
TOGETHER = [["gemini"], ["responses", "doubao"], ["converse"], ["cohere", "cohere_v1"], ["cloudflare"]]


def copy():
    """Makes the copy anew; what stands there already keeps its time, so that it need not be built again."""
    listed = subprocess.run(
        "git ls-files -co --exclude-standard -z".split(), cwd=ROOT, capture_output=True, check=True
    ).stdout
    files = {name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()}
    for name in files:
        source, target = ROOT / name, COPY / name
        if not target.is_file() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for old in [path for path in COPY.rglob("*") if path.is_file()]:
        if str(old.relative_to(COPY)) not in files:
            old.unlink()


def run(arguments):
    """Runs cargo in the copy, without what only a debugger reads."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "target/mutants/build"), "CARGO_PROFILE_DEV_DEBUG": "0"}
    command = [os.environ.get("CARGO", "cargo"), *arguments]
    return subprocess.run(command, cwd=COPY, env=environment, capture_output=True, text=True)


def failures(output):
    """The tests that failed, each with what it said."""
    failed, said = {}, None
    for line in output.splitlines():
        status = re.match(r"\s+(PASS|FAIL|SIG\w+|ABORT|TIMEOUT) \[.*\] .*?(\S+)$", line)
        if status:
            said = None if status[1] == "PASS" else failed.setdefault(status[2], [])
        elif said is not None:
            said.append(line)
    return {test: "\n".join(said) for test, said in failed.items()}


def counts(test, said, codecs):
    """Whether a failed test is one of these codecs'."""
    return any(test.startswith(f"{codec}::") or f"openai_chat-{codec}/" in said for codec in codecs)


def fates(broken):
    """What becomes of mutants that are there at once, each with the codecs whose tests count; none where all do."""
    before = {}
    try:
        for _, (file, old, new) in broken:
            path = COPY / SOURCES / file
            whole = path.read_text()
            before.setdefault(path, whole)
            path.write_text(whole.replace(old, new))
        output = run(TESTS).stderr
    finally:
        for path, whole in before.items():
            path.write_text(whole)
    if "could not compile" in output:
        return [(False, "DOES NOT COMPILE\n" + output[-2000:])] * len(broken)
    failed = failures(output)
    told = []
    for codecs, _ in broken:
        tests = [test for test, said in failed.items() if codecs is None or counts(test, said, codecs)]
        told.append((bool(tests), f"failed {tests[0]}" if tests else "SURVIVED"))
    return told


def rounds(wanted):
    """The wanted mutants in rounds of those that are broken together."""
    queues = [[(codecs, mutant) for codec in codecs for mutant in wanted.get(codec, [])] for codecs in TOGETHER]
    for round in itertools.zip_longest(*queues):
        yield [broken for broken in round if broken]
    grouped = {codec for codecs in TOGETHER for codec in codecs}
    for mutants in [mutants for codec, mutants in wanted.items() if codec not in grouped]:
        yield from ([(None, mutant)] for mutant in mutants)


def main():
    words = sys.argv[1:] or [""]
    table = json.loads((Path(__file__).parent / "mutants.json").read_text())
    few = [name for name, mutants in table.items() if len(mutants) < 10]
    if few:
        sys.exit(f"fewer than ten mutants: {', '.join(few)}")
    for file, old, _ in [mutant for mutants in table.values() for mutant in mutants]:
        if (ROOT / SOURCES / file).read_text().count(old) != 1:
            sys.exit(f"{file}: this stands there not once: {old!r}")
    wanted = {
        codec: [mutant for mutant in mutants if any(word in codec or word in mutant[0] for word in words)]
        for codec, mutants in table.items()
    }
    copy()
    whole = run(TESTS)
    if whole.returncode:
        sys.exit(f"the tests fail without any mutant:\n{whole.stderr[-3000:]}")
    tried, left = 0, 0
    for broken in rounds(wanted):
        for (_, (file, old, new)), (caught, told) in zip(broken, fates(broken)):
            tried, left = tried + 1, left + (not caught)
            print(f"{told}: {file}: {old!r} -> {new!r}", flush=True)
    print(f"{tried} mutants, {left} survived")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
