"""Makes golden cases of Messages clients out of those of OpenAI chat clients: the same answers, asked for in Anthropic's words.

usage: messages.py CASES [MOST]

Of each pair `openai_chat-<upstream>` it takes cases that differ in kind, at most MOST (12), and writes
`anthropic-<upstream>/<case>/{case,request}.json`. `case.json` names the case whose answer it is. What a Messages client cannot
ask for (several candidates, sound, likelihoods) is left out, and so are failures, which are read alike for all clients. A case that is there keeps its files.
"""

import base64
import json
import sys
from pathlib import Path

# What cannot be asked for in this dialect, or has no words in it.
UNASKED = {"n_choices", "logprobs", "audio_in", "audio_out", "video_in"}
CACHED = {"type": "ephemeral"}


def text(words, mark=None):
    return {"type": "text", "text": words, **({"cache_control": mark} if mark else {})}


def source(url):
    if url.startswith("data:"):
        mime, data = url[5:].split(";base64,", 1)
        return {"type": "base64", "media_type": mime, "data": data}
    return {"type": "url", "url": url}


def part(one):
    """A part of a user's turn; none for what has no words."""
    mark = one.get("cache_control")
    if one["type"] == "text":
        return text(one["text"], mark)
    if one["type"] == "image_url":
        return {"type": "image", "source": source(one["image_url"]["url"])}
    if one["type"] == "file":
        file = one["file"]
        if "file_data" not in file:
            return None
        given = source(file["file_data"])
        if given.get("media_type", "").startswith("text/"):
            words = base64.b64decode(given["data"] + "==").decode("utf-8", "replace")
            given = {"type": "text", "media_type": "text/plain", "data": words}
        title = {"title": file["filename"]} if file.get("filename") else {}
        return {"type": "document", "source": given, **title}
    return None


def content(value):
    if isinstance(value, str):
        return value
    return [found for found in map(part, value or []) if found]


def arguments(written):
    try:
        found = json.loads(written or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {"value": found}


def answer(message):
    blocks = []
    said = message.get("content")
    if isinstance(said, str) and said:
        blocks.append(text(said))
    elif isinstance(said, list):
        blocks += [found for found in map(part, said) if found]
    for call in message.get("tool_calls") or []:
        function = call["function"]
        blocks.append(
            {"type": "tool_use", "id": call["id"], "name": function["name"], "input": arguments(function.get("arguments"))}
        )
    return blocks


def messages(chat):
    system, turns = [], []
    for message in chat:
        role, said = message["role"], message.get("content")
        if role in ("system", "developer"):
            found = content(said)
            found = [text(found)] if isinstance(found, str) else found
            if turns:
                turns.append({"role": "system", "content": found})
            else:
                system += found
        elif role == "assistant":
            blocks = answer(message)
            if blocks:
                turns.append({"role": "assistant", "content": blocks})
        elif role == "tool":
            result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id") or "call_0", "content": content(said)}
            last = turns[-1] if turns else {}
            if last.get("role") == "user" and isinstance(last["content"], list) and last["content"][0]["type"] == "tool_result":
                last["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        else:
            turns.append({"role": "user", "content": content(said)})
    return system, turns


def tools(given):
    found = []
    for tool in given:
        if tool.get("type") == "function":
            function = tool["function"]
            made = {"name": function["name"]}
            if function.get("description"):
                made["description"] = function["description"]
            made["input_schema"] = function.get("parameters") or {"type": "object", "properties": {}}
            found.append(made)
        elif str(tool.get("type", "")).startswith("web_search"):
            found.append({"type": "web_search_20250305", "name": "web_search"})
    return found


def choice(given, single):
    made = None
    if isinstance(given, str):
        made = {"type": {"required": "any"}.get(given, given)}
    elif isinstance(given, dict) and given.get("type") == "function":
        made = {"type": "tool", "name": given["function"]["name"]}
    if single:
        made = {**(made or {"type": "auto"}), "disable_parallel_tool_use": True}
    return made


def request(chat):
    """The request in this dialect."""
    system, turns = messages(chat["messages"])
    made = {"model": chat["model"], "max_tokens": chat.get("max_completion_tokens") or chat.get("max_tokens") or 4096}
    if system:
        made["system"] = system[0]["text"] if len(system) == 1 and "cache_control" not in system[0] else system
    made["messages"] = turns or [{"role": "user", "content": "Hello"}]
    for name in ("top_p", "top_k"):
        if name in chat:
            made[name] = chat[name]
    if "temperature" in chat:
        made["temperature"] = min(chat["temperature"], 1)
    if chat.get("stop"):
        made["stop_sequences"] = [chat["stop"]] if isinstance(chat["stop"], str) else chat["stop"]
    offered = tools(chat.get("tools") or [])
    if chat.get("web_search_options") is not None:
        offered.append({"type": "web_search_20250305", "name": "web_search"})
    if offered:
        made["tools"] = offered
        chosen = choice(chat.get("tool_choice"), chat.get("parallel_tool_calls") is False)
        if chosen:
            made["tool_choice"] = chosen
    form = chat.get("response_format") or {}
    output = {}
    if form.get("type") == "json_schema":
        output["format"] = {"type": "json_schema", "schema": form["json_schema"].get("schema", {})}
    if chat.get("thinking"):
        made["thinking"] = chat["thinking"]
    effort = chat.get("reasoning_effort")
    if effort in ("low", "medium", "high", "xhigh", "max"):
        output["effort"] = effort
        made.setdefault("thinking", {"type": "adaptive"})
    elif effort == "none":
        made["thinking"] = {"type": "disabled"}
    if output:
        made["output_config"] = output
    if chat.get("user"):
        made["metadata"] = {"user_id": chat["user"]}
    if chat.get("stream"):
        made["stream"] = True
    return made


def chosen(folders, most):
    """Cases that differ in kind, whole ones and streams, the shorter first."""
    told = {}
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        if not UNASKED.intersection(case.get("kinds", [])) and case.get("status", 200) < 300:
            told[folder] = case
    size = {folder: sum(path.stat().st_size for path in folder.glob("upstream.*")) for folder in told}
    seen, found = set(), []
    for folder in sorted(told, key=lambda folder: (size[folder], folder.name)):
        kinds = {(kind, bool(told[folder].get("framing"))) for kind in told[folder].get("kinds", [])}
        if kinds - seen and len(found) < most and size[folder] < 60_000:
            seen |= kinds
            found.append(folder)
    return sorted(found)


def main():
    cases = Path(sys.argv[1])
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    count = 0
    for pair in sorted(cases.glob("openai_chat-*")):
        upstream = pair.name.split("-", 1)[1]
        for folder in chosen([path for path in pair.iterdir() if path.is_dir()], most):
            made = cases / f"anthropic-{upstream}" / folder.name
            if made.exists():
                continue
            made.mkdir(parents=True)
            chat = json.loads((folder / "request.json").read_text())
            written = {"case.json": {"answer": f"{pair.name}/{folder.name}"}, "request.json": request(chat)}
            for name, value in written.items():
                (made / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
            count += 1
    print(f"{count} cases")


if __name__ == "__main__":
    main()
