"""Writes golden cases of clients of OpenAI's responses: requests that say what clients of chat have said.

usage: responses.py CASES

Takes of each folder `openai_chat-<upstream>` in CASES as many cases as it takes to have each of their kinds once in a
stream and once whole, and writes `responses-<upstream>/<case>/{case.json,request.json}`. The answer and what it means
are those of the case that `answer` names. A request that is there stays.
"""

import json
import sys
from pathlib import Path

# What clients of this dialect cannot ask for.
LEFT_OUT = {"n_choices", "audio_out", "image_out", "logprobs", "video_in"}
MOST = 14


def part(one, role):
    """A part of a message."""
    if isinstance(one, str):
        one = {"type": "text", "text": one}
    kind = one["type"]
    if kind in ("text", "input_text", "output_text"):
        found = {"type": "output_text" if role == "assistant" else "input_text", "text": one["text"]}
    elif kind == "image_url":
        url = one["image_url"]
        url = url if isinstance(url, dict) else {"url": url}
        found = {"type": "input_image", "image_url": url["url"], "detail": url.get("detail", "auto")}
    elif kind == "file":
        found = {"type": "input_file", **{k: v for k, v in one["file"].items() if k in ("file_data", "filename", "file_id", "file_url")}}
    else:
        found = {k: v for k, v in one.items() if k != "cache_control"}
    if "cache_control" in one:
        found["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return found


def parts(content, role):
    if content is None:
        return []
    if isinstance(content, str):
        return content
    return [part(one, role) for one in content]


def items(messages):
    """The messages of chat as items."""
    found = []
    for message in messages:
        role = message["role"]
        content = parts(message.get("content"), role)
        if role == "tool":
            found.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": content})
            continue
        if content or role != "assistant":
            found.append({"type": "message", "role": role, "content": content})
        if message.get("refusal"):
            found.append({"type": "message", "role": role, "content": [{"type": "refusal", "refusal": message["refusal"]}]})
        for call in message.get("tool_calls") or []:
            function = call["function"]
            found.append({"type": "function_call", "call_id": call["id"], "name": function["name"],
                          "arguments": function["arguments"]})
    return found


def request(chat):
    """A request of chat in this dialect."""
    found = {"model": chat["model"]}
    messages = chat["messages"]
    if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        found["instructions"] = messages[0]["content"]
        messages = messages[1:]
    found["input"] = items(messages)
    tools = []
    for tool in chat.get("tools", []):
        function = tool.get("function")
        tools.append({"type": "function", "strict": False, **function} if function else tool)
    if tools:
        found["tools"] = tools
    choice = chat.get("tool_choice")
    if choice:
        named = choice.get("function", choice if "name" in choice else None) if isinstance(choice, dict) else None
        word = choice if isinstance(choice, str) else choice.get("type")
        found["tool_choice"] = {"type": "function", "name": named["name"]} if named else {"any": "required"}.get(word, word)
    form = chat.get("response_format")
    if form:
        found["text"] = {"format": {"type": form["type"], **form.get("json_schema", {})}}
    limit = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if limit:
        found["max_output_tokens"] = limit
    effort = chat.get("reasoning_effort") or (chat.get("thinking") or chat.get("reasoning")) and "medium"
    if effort:
        found["reasoning"] = {"effort": effort, "summary": "auto"}
    for name in ("temperature", "top_p", "parallel_tool_calls", "user"):
        if name in chat:
            found[name] = chat[name]
    found["include"] = ["reasoning.encrypted_content"]
    found["store"] = False
    if chat.get("stream"):
        found["stream"] = True
    return found


def chosen(folder):
    """A few of the cases of a folder, with every kind once in a stream and once whole."""
    seen, found = set(), []
    cases = [(json.loads((case / "case.json").read_text()), case) for case in sorted(folder.iterdir())]
    for told, case in sorted(cases, key=lambda one: -len(one[0].get("kinds", []))):
        kinds = {(kind, told["stream"]) for kind in told.get("kinds", [])}
        if told["status"] != 200 or LEFT_OUT & set(told.get("kinds", [])) or not kinds - seen:
            continue
        if told.get("differs") or (case / "error.json").exists() and "midstream_error" not in told["kinds"]:
            continue
        usage = json.loads((case / "expected.json").read_text()).get("usage") or {}
        if min(usage.values(), default=0) < 0:  # Counted in a way that the provider's SDK does not expect.
            continue
        if len((case / "request.json").read_bytes()) > 60_000:
            continue
        seen |= kinds
        found.append((told, case))
    return found[:MOST]


def main():
    root = Path(sys.argv[1])
    for folder in sorted(root.glob("openai_chat-*")):
        upstream = folder.name.split("-", 1)[1]
        for told, case in chosen(folder):
            place = root / f"responses-{upstream}" / case.name
            place.mkdir(parents=True, exist_ok=True)
            if not (place / "case.json").exists():
                (place / "case.json").write_text(json.dumps({"answer": f"{folder.name}/{case.name}"}, indent=2) + "\n")
            if not (place / "request.json").exists():
                chat = json.loads((case / "request.json").read_text())
                (place / "request.json").write_text(json.dumps(request(chat), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
