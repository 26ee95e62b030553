"""Runs scenarios with the official OpenAI SDK for Python against a gateway.

usage: scenarios.py PLAN.json

The plan holds `base_url`, `key` and `steps`. Each step is one call with what must come of it; the
first step that goes another way ends the run with a message and exit code 1.
"""

import json
import sys

import openai


def client(plan, step):
    return openai.OpenAI(base_url=plan["base_url"], api_key=step.get("key", plan["key"]), max_retries=0, timeout=30)


def call(api, request, **more):
    """Passes what every provider knows as arguments, and a provider's own fields beside them."""
    known = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "temperature", "max_tokens", "n"}
    arguments = {name: value for name, value in request.items() if name in known}
    rest = {name: value for name, value in request.items() if name not in known}
    return api.chat.completions.create(**arguments, extra_body=rest or None, **more)


def same(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: found {found!r}, expected {expected!r}")


def check(found, expected):
    for what, value in expected.items():
        same(what, found[what], value)


def tool_calls(calls):
    return [[call.function.name, json.loads(call.function.arguments or "{}")] for call in calls or []]


def whole(plan, step):
    answer = call(client(plan, step), step["request"])
    same("object", answer.object, "chat.completion")
    choice = answer.choices[0]
    same("role", choice.message.role, "assistant")
    check(
        {
            "content": choice.message.content or "",
            "tools": tool_calls(choice.message.tool_calls),
            "finish": choice.finish_reason,
            "choices": len(answer.choices),
            "total_tokens": answer.usage.total_tokens if answer.usage else None,
        },
        step["expect"],
    )


def stream(plan, step):
    content, calls, finish, usage, tail = {}, {}, {}, None, []
    for chunk in call(client(plan, step), step["request"]):
        same("object", chunk.object, "chat.completion.chunk")
        if chunk.usage:
            usage = chunk.usage
        if not chunk.choices:
            tail.append(chunk)
        for choice in chunk.choices:
            content[choice.index] = content.get(choice.index, "") + (choice.delta.content or "")
            for part in choice.delta.tool_calls or []:
                known = calls.setdefault(part.index, ["", "", ""])
                known[0] = known[0] or part.id or ""
                known[1] += part.function.name or ""
                known[2] += part.function.arguments or ""
            if choice.finish_reason:
                finish[choice.index] = choice.finish_reason
    if any(not known[0] for known in calls.values()):
        raise AssertionError(f"a tool call has no id: {calls}")
    check(
        {
            "content": content.get(0, ""),
            "tools": [[name, json.loads(text or "{}")] for _, (_, name, text) in sorted(calls.items())],
            "finish": finish.get(0),
            "choices": len(content),
            "total_tokens": usage.total_tokens if usage else None,
            "usage_chunks": len([chunk for chunk in tail if chunk.usage]),
        },
        step["expect"],
    )


def models(plan, step):
    same("models", [model.id for model in client(plan, step).models.list()], step["expect"])


def error(plan, step):
    request = step["request"]
    if "padding" in step:
        request["messages"][0]["content"] = "x" * step["padding"]
    expected = getattr(openai, step["expect"]["python"])
    try:
        answer = call(client(plan, step), request)
        if request.get("stream"):
            for _ in answer:
                pass
    except openai.APIError as failure:
        if type(failure) is not expected:
            raise AssertionError(f"{type(failure).__name__} instead of {expected.__name__}: {failure}") from failure
        if "status" in step["expect"]:
            same("status", failure.status_code, step["expect"]["status"])
        if not isinstance(failure.body, dict) or not failure.body.get("message"):
            raise AssertionError(f"the SDK finds no message in {failure.body!r}") from failure
        if step["expect"].get("contains", "") not in failure.body["message"]:
            raise AssertionError(f"message: {failure.body['message']!r}") from failure
        return
    raise AssertionError(f"no error, expected {expected.__name__}")


KINDS = {"whole": whole, "stream": stream, "models": models, "error": error}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    for number, step in enumerate(plan["steps"]):
        name = f"step {number} ({step['kind']} {step.get('request', {}).get('model', '')})"
        try:
            KINDS[step["kind"]](plan, step)
        except Exception as failure:
            sys.exit(f"{name}: {type(failure).__name__}: {failure}")
    print(f"{len(plan['steps'])} steps")


main()
