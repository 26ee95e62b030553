"""Makes golden cases out of recorded exchanges with providers.

usage: make.py FIXTURES CASES [--provider NAME] [--most N] [--expected-only]

FIXTURES holds `<provider>/<case>/{meta.yaml,request.json,response.*}`. CASES is the folder of golden cases. A case
that is there keeps its `request.json` and what its `case.json` says by hand; `expected.json` is made anew. With
`--expected-only` no case is added: what the SDKs say is written for those that are there.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import answers
import chat
import choose
import fixtures
from replay import Replay


def write(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def tools_called(answer):
    """Names of tools that an answer calls, in any dialect, for cases whose request was not recorded."""
    return [tool["name"] for tool in answer.get("tools", [])]


def extract(replay, case):
    """Writes what the provider's SDK finds in the case's answer."""
    told = json.loads((case / "case.json").read_text())
    answer = next(case.glob("upstream.*")).read_bytes()
    if told.get("framing") == "json_array":
        # The SDK asks for events: the same values, each in one.
        told["content_type"] = "text/event-stream"
        answer = b"".join(b"data: %s\n\n" % json.dumps(value).encode() for value in json.loads(answer))
    replay.play(told["status"], told["content_type"], answer)
    upstream = case.parent.name.split("-", 1)[1]
    found = answers.read(replay, upstream, told["provider"], told["stream"])
    write(case / "expected.json", found)
    return found


def make(replay, fixture, root):
    case = root / f"openai_chat-{fixture.upstream}" / fixture.name
    case.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(fixture.answer, case / f"upstream{fixture.answer.suffix}")
    kept = {}
    if (case / "case.json").exists():
        kept = json.loads((case / "case.json").read_text())
    told = {
        "provider": fixture.provider,
        "model": fixture.model,
        "stream": fixture.stream,
        "status": fixture.status,
        "content_type": fixture.content_type,
        "framing": fixture.framing,
        "envelope": fixture.envelope,
        "kinds": fixture.kinds,
        "written": fixture.meta.get("form") == "written" or None,
    }
    told = {name: value for name, value in told.items() if value is not None}
    write(case / "case.json", {**told, **{name: kept[name] for name in ("differs",) if name in kept}})
    found = extract(replay, case)
    fixture.tools_called = tools_called(found)
    if not (case / "request.json").exists():
        write(case / "request.json", chat.request(fixture))


def main():
    reader = argparse.ArgumentParser()
    reader.add_argument("fixtures", type=Path)
    reader.add_argument("cases", type=Path)
    reader.add_argument("--provider")
    reader.add_argument("--most", type=int, default=24)
    reader.add_argument("--expected-only", action="store_true")
    given = reader.parse_args()
    replay = Replay()
    failed = 0
    if given.expected_only:
        for case in sorted(path.parent for path in given.cases.glob("*/*/case.json")):
            extract(replay, case)
        return
    chosen = choose.choose(list(fixtures.every(given.fixtures, given.provider)), given.most)
    for fixture in chosen:
        try:
            make(replay, fixture, given.cases)
        except Exception as failure:
            # What the SDK cannot read has no meaning to compare with.
            failed += 1
            shutil.rmtree(given.cases / f"openai_chat-{fixture.upstream}" / fixture.name)
            print(f"{fixture.folder}: {type(failure).__name__}: {failure}", file=sys.stderr)
    print(f"{len(chosen)} cases, {failed} of them left out")


if __name__ == "__main__":
    main()
