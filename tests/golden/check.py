"""Holds what clients get of golden cases against what they should find in it, with the SDK of the client's dialect.

usage: check.py CASES [FOLDERS]

FOLDERS chooses those with such a name, `responses-*`. Reads each `response.{json,sse}` from a server that answers with it, as a client would, and compares what the SDK finds
with `expected.json`. Says which cases differ, and ends with exit code 1 when one does.
"""

import json
import sys
from pathlib import Path

import chat_answer
import messages_answer
import responses_answer
from replay import Replay

FIELDS = ("text", "reasoning", "refusal", "tools", "finish", "images", "citations", "usage", "more", "error")


def comparable(field, value):
    """A field as it is compared: reasoning without white space, of an error only that there is one."""
    if field == "reasoning":
        return "".join((value or "").split())
    if field == "error":
        return value is not None
    if field == "more":
        return [{name: comparable(name, one.get(name)) for name in FIELDS} for one in value or []]
    return value


def about(case):
    """What is told of a case, and what should be found: some share the answer of another."""
    told = json.loads((case / "case.json").read_text())
    if "answer" in told:
        answered = case.parent.parent / told["answer"]
        shared = json.loads((answered / "case.json").read_text())
        # What differs for clients of responses is said for each case alone.
        inherited = {} if case.parent.name.startswith("responses-") else shared.get("differs", {})
        differs = {**inherited, **(told.get("differs") or {})}
        told, case = {**shared, "differs": {field: why for field, why in differs.items() if why}}, answered
    return told, json.loads((case / "expected.json").read_text())


def check(replay, case):
    """The fields in which the client finds something else."""
    told, expected = about(case)
    reader = chat_answer
    if case.parent.name.startswith("anthropic-"):
        reader, expected = messages_answer, messages_answer.expected(expected)
    elif case.parent.name.startswith("responses-"):
        reader = responses_answer
    answer = next(case.glob("response.*"))
    stream = answer.suffix == ".sse"
    replay.play(200, "text/event-stream" if stream else "application/json", answer.read_bytes())
    try:
        found = reader.read(replay.url, stream)
    except responses_answer.Untyped as failure:
        yield f"{case.parent.name}/{case.name}: {failure}"
        return
    for field in FIELDS:
        if field in told.get("differs", {}) or (field == "usage" and expected.get("usage") is None):
            continue
        if "text" not in expected and field != "error":
            continue
        mine, theirs = comparable(field, found.get(field)), comparable(field, expected.get(field))
        if mine != theirs:
            yield f"{case.parent.name}/{case.name}: {field}: expected {theirs!r}, found {mine!r}"


def main():
    replay, folders = Replay(), sys.argv[2] if len(sys.argv) > 2 else "*"
    cases = sorted({path.parent for path in Path(sys.argv[1]).glob(f"{folders}/*/response.*")})
    wrong = [line for case in cases for line in check(replay, case)]
    print("\n".join(wrong))
    print(f"{len(cases)} cases")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
