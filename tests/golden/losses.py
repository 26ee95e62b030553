"""What of a client's request does not come out in what the upstream is sent."""

import json

# What an upstream has no place for. Nothing else may be lost. Each reason lies with the provider.
UNSAID = {
    "anthropic": {
        "max_tokens": "bounded by what the model can write, raised above a budget of thinking",
        "seed": "Messages take no seed",
        "presence_penalty": "Messages take no penalties",
        "frequency_penalty": "Messages take no penalties",
        "temperature": "not beside thinking, nor with models that sample by themselves",
        "top_p": "not beside thinking, nor beside a temperature",
        "top_k": "not beside thinking",
        "image_detail": "Messages take no detail of pictures",
    },
    "gemini": {
        "max_tokens": "bounded by what the model can write",
        "presence_penalty": "not with models that think",
        "frequency_penalty": "not with models that think",
        "image_detail": "Gemini takes no detail of one picture",
    },
    "converse": {
        "max_tokens": "bounded by what the model can write, raised above a budget of thinking",
        "seed": "Converse takes no seed",
        "presence_penalty": "Converse takes no penalties",
        "frequency_penalty": "Converse takes no penalties",
        "temperature": "not beside thinking",
        "top_p": "not beside thinking",
        "top_k": "not beside thinking",
        "image_detail": "Converse takes no detail of pictures",
    },
    "responses": {
        "max_tokens": "16 at the least",
        "seed": "Responses take no seed",
        "stop": "Responses take no stop sequences",
        "presence_penalty": "Responses take no penalties",
        "frequency_penalty": "Responses take no penalties",
        "temperature": "not with models that reason",
        "top_p": "not with models that reason",
        "top_k": "Responses take no top_k",
    },
    "cohere": {
        "max_tokens": "raised above a budget of thinking",
        "temperature": "ends at 1",
        "top_p": "between 0.01 and 0.99",
        "top_k": "ends at 500",
        "presence_penalty": "from 0 to 1, and not beside another penalty",
        "frequency_penalty": "from 0 to 1, and not beside another penalty",
    },
    "cohere_v1": {
        "temperature": "ends at 1",
        "top_p": "between 0.01 and 0.99",
        "top_k": "ends at 500",
        "presence_penalty": "from 0 to 1, and not beside another penalty",
        "frequency_penalty": "from 0 to 1, and not beside another penalty",
    },
    "cloudflare": {
        "temperature": "from 0 to 5",
        "stop": "older models take no stop sequences",
        "top_k": "ends at 50",
        "presence_penalty": "from 0 to 2",
        "frequency_penalty": "from 0 to 2",
        "image_detail": "older models take no detail of pictures",
    },
    "openai_chat": {},
}

# Upstreams that can be told to call a tool and not which.
NAMELESS = ("cohere", "cohere_v1", "cloudflare")
NUMBERS = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")


def leaves(value):
    """Every text, number and name in a value."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and not isinstance(value, bool):
        yield value


def parts(content):
    if isinstance(content, str):
        yield "text", content
    for part in content if isinstance(content, list) else []:
        if part.get("type") == "text":
            yield "text", part["text"]
        elif part.get("type") == "image_url":
            held = part["image_url"]
            held = {"url": held} if isinstance(held, str) else held
            yield "image", held["url"].split(",")[-1][:64]
            if held.get("detail"):
                yield "image_detail", held["detail"]
        elif part.get("type") == "input_audio":
            yield "audio", part["input_audio"]["data"][:64]
        elif part.get("type") == "file":
            held = part["file"].get("file_data") or part["file"].get("file_url") or ""
            if not held.startswith("data:text/"):
                yield "file", held.split(",")[-1][:64]


def atoms(request, upstream):
    """What a request says, piece by piece: the kind of piece, and what must be found of it."""
    for message in request["messages"]:
        yield from parts(message.get("content"))
        for call in message.get("tool_calls") or []:
            yield "tool_call", call["function"]["name"]
            try:
                arguments = json.loads(call["function"]["arguments"] or "{}")
            except ValueError:
                continue
            for leaf in leaves(arguments):
                yield "arguments", leaf
    choice = request.get("tool_choice")
    # Where a choice cannot be named, what is not chosen is left out.
    chosen = choice["function"]["name"] if isinstance(choice, dict) and upstream in NAMELESS and "function" in choice else None
    for tool in [] if choice == "none" else request.get("tools") or []:
        if tool["type"] == "function" and chosen in (None, tool["function"]["name"]):
            yield "tool", tool["function"]["name"]
            yield "description", tool["function"].get("description") or ""
            schema = tool["function"].get("parameters")
            for name in (schema.get("properties") or {}) if isinstance(schema, dict) else []:
                yield "parameter", name
    wanted = ((request.get("response_format") or {}).get("json_schema") or {}).get("schema") or {}
    for name in wanted.get("properties") or {}:
        yield "schema", name
    stop = request.get("stop") or []
    for word in [stop] if isinstance(stop, str) else stop:
        yield "stop", word
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    if limit:
        yield "max_tokens", limit
    for name in NUMBERS:
        if request.get(name) is not None:
            yield name, request[name]


def within(text, found):
    """Whether a text is an object in JSON, all of which is in what is sent."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and all(leaf in found for leaf in leaves(value))


def lost(request, sent, upstream):
    """The pieces that are nowhere in what is sent, one sentence each."""
    found = list(leaves(sent))
    text = "\n".join(leaf for leaf in found if isinstance(leaf, str))
    # Arguments and schemas may go as JSON in a text.
    escaped = text.replace('\\"', '"').replace("\\\\", "\\").replace("\\n", "\n")
    numbers = [leaf for leaf in found if not isinstance(leaf, str)]
    lines = []
    for kind, piece in atoms(request, upstream):
        if kind in UNSAID[upstream] or piece == "":
            continue
        if isinstance(piece, str):
            wanted = piece.strip()
            there = wanted in text or wanted in escaped or json.dumps(wanted, ensure_ascii=False)[1:-1] in text
        else:
            there = any(abs(piece - number) < 1e-9 for number in numbers) or str(piece) in text
        # An object may go as one, and what a provider does not fetch was fetched for it.
        if not there and kind == "text":
            there = within(piece, found)
        if not there and kind in ("image", "file") and piece.startswith("http"):
            there = "iVBORw0KGgo=" in text
        if not there:
            lines.append(f"lost {kind}: {str(piece)[:80]!r}")
    return lines
