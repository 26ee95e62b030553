"""Runs scenarios of the Responses API with the official OpenAI SDK for Python against a gateway.

usage: responses.py PLAN.json

The plan is that of scenarios.py. The first step that goes another way ends the run with a message and exit code 1.
"""

import json
import sys

import openai

TOOLS = [
    {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False},
    {"type": "custom", "name": "patch", "description": "Patches."},
]


def client(plan, step):
    return openai.OpenAI(base_url=plan["base_url"], api_key=step.get("key", plan["key"]), max_retries=0, timeout=30)


def same(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


def summary(response):
    calls = [[item.name, json.loads(item.arguments)] for item in response.output if item.type == "function_call"]
    inputs = [[item.name, item.input] for item in response.output if item.type == "custom_tool_call"]
    thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
    return {"text": response.output_text, "status": response.status, "calls": calls, "inputs": inputs,
            "thoughts": "".join(thoughts)}


def check(response, step):
    found = summary(response)
    for what, value in step["expect"].items():
        same(what, found[what], value)


def whole(plan, step):
    check(client(plan, step).responses.create(**{"tools": TOOLS, **step["request"]}), step)


def stream(plan, step):
    numbers, words = [], ""
    with client(plan, step).responses.stream(**{"tools": TOOLS, **step["request"]}) as events:
        for event in events:
            numbers.append(event.sequence_number)
            words += event.delta if event.type == "response.output_text.delta" else ""
        final = events.get_final_response()
    same("numbers", numbers, sorted(set(numbers)))
    same("pieces", words, final.output_text)
    check(final, step)


def kept(plan, step):
    """An answer is gone on from, read and deleted by whom it was for, and by nobody else."""
    mine, other = client(plan, step), client(plan, {"key": step["other"]})
    first = mine.responses.create(**step["request"])
    second = mine.responses.create(**{**step["request"], "previous_response_id": first.id})
    same("text", second.output_text, first.output_text)
    same("read", mine.responses.retrieve(first.id).output_text, first.output_text)
    same("input", [item.type for item in mine.responses.input_items.list(first.id)], ["message"])
    for refused, ask in [
        (openai.NotFoundError, lambda: other.responses.retrieve(first.id)),
        (openai.NotFoundError, lambda: other.responses.delete(first.id)),
        (openai.NotFoundError, lambda: other.responses.cancel(first.id)),
        (openai.BadRequestError, lambda: other.responses.create(**{**step["request"], "previous_response_id": first.id})),
    ]:
        try:
            ask()
        except refused:
            continue
        raise AssertionError(f"another key was not told {refused.__name__}")
    mine.responses.delete(first.id)
    try:
        mine.responses.retrieve(first.id)
    except openai.NotFoundError:
        return
    raise AssertionError("a deleted answer is there")


def error(plan, step):
    try:
        stream = step["request"].get("stream", False)
        answer = client(plan, step).responses.create(**step["request"])
        for event in answer if stream else []:
            if event.type == "response.failed":
                same("code", event.response.error.code, step["expect"]["code"])
                return
    except openai.APIError as failure:
        same("class", type(failure).__name__, step["expect"]["class"])
        same("code", failure.code, step["expect"]["code"])
        return
    raise AssertionError("there was no error")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    for number, step in enumerate(plan["steps"]):
        try:
            {"whole": whole, "stream": stream, "kept": kept, "error": error}[step["kind"]](plan, step)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is told with its step
            print(f"step {number} {step}: {type(failure).__name__}: {failure}")
            sys.exit(1)
    print(f"{len(plan['steps'])} steps")


if __name__ == "__main__":
    main()
