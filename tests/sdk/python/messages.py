"""Runs scenarios with the official Anthropic SDK for Python against a gateway.

usage: messages.py PLAN.json

The plan holds `base_url`, `key` and `steps`, as that of `scenarios.py` does.
"""

import json
import sys

import anthropic


def client(plan, step):
    return anthropic.Anthropic(base_url=plan["base_url"], api_key=step.get("key", plan["key"]), max_retries=0, timeout=30)


def same(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


def check(found, expected):
    for what, value in expected.items():
        same(what, found[what], value)


def meaning(message):
    same("type", (message.type, message.role), ("message", "assistant"))
    blocks = message.content
    if any(block.type == "thinking" and not block.signature for block in blocks):
        raise AssertionError(f"a thought has no signature: {blocks}")
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "thinking": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "tools": [[block.name, block.input] for block in blocks if block.type == "tool_use"],
        "stop": message.stop_reason,
        "input": message.usage.input_tokens,
        "output": message.usage.output_tokens,
    }


def whole(plan, step):
    check(meaning(client(plan, step).messages.create(**step["request"])), step["expect"])


def stream(plan, step):
    request = {name: value for name, value in step["request"].items() if name != "stream"}
    kinds = []
    with client(plan, step).messages.stream(**request) as answer:
        for event in answer:
            kinds.append(event.type)
        found = meaning(answer.get_final_message())
    same("its ends", (kinds[0], kinds[-1]), ("message_start", "message_stop"))
    same("blocks that end", kinds.count("content_block_stop"), kinds.count("content_block_start"))
    check(found, step["expect"])


def rounds(plan, step):
    """A loop of tools: what the model calls is answered until it calls nothing more."""
    messages, request, calls = list(step["request"]["messages"]), step["request"], 0
    for _ in range(8):
        with client(plan, step).messages.stream(**{**request, "messages": messages}) as answer:
            message = answer.get_final_message()
        messages.append({"role": "assistant", "content": message.content})
        called = [block for block in message.content if block.type == "tool_use"]
        if not called:
            check({**meaning(message), "calls": calls}, step["expect"])
            return
        calls += len(called)
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": f"result {calls}"} for block in called]
        messages.append({"role": "user", "content": results})
    raise AssertionError("the loop does not end")


def count(plan, step):
    check({"input": client(plan, step).messages.count_tokens(**step["request"]).input_tokens}, step["expect"])


def models(plan, step):
    same("models", [model.id for model in client(plan, step).models.list(limit=2)], step["expect"])


def error(plan, step):
    expected = getattr(anthropic, step["expect"]["python"])
    try:
        if step["request"].get("stream"):
            for _ in client(plan, step).messages.create(**step["request"]):
                pass
        else:
            client(plan, step).messages.create(**step["request"])
    except anthropic.APIError as failure:
        if type(failure) is not expected:
            raise AssertionError(f"{type(failure).__name__} instead of {expected.__name__}: {failure}") from failure
        if "status" in step["expect"]:
            same("status", failure.status_code, step["expect"]["status"])
        message = (failure.body.get("error") or {}).get("message") if isinstance(failure.body, dict) else None
        if step["expect"].get("contains", "") not in (message or ""):
            raise AssertionError(f"message: {failure.body!r}") from failure
        return
    raise AssertionError(f"no error, expected {expected.__name__}")


KINDS = {"whole": whole, "stream": stream, "rounds": rounds, "count": count, "models": models, "error": error}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    for number, step in enumerate(plan["steps"]):
        try:
            KINDS[step["kind"]](plan, step)
        except Exception as failure:
            print(f"step {number} ({step['kind']} {step.get('request', {}).get('model', '')}): {failure!r}", file=sys.stderr)
            raise
    print(f"{len(plan['steps'])} steps")


if __name__ == "__main__":
    main()
