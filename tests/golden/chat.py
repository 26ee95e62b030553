"""The OpenAI chat request that a client would have sent to get a recorded request of a provider.

One function per dialect. What an OpenAI client has no words for (a provider's own fields) is left out: a golden case
shows what a client gets, not that a provider's every field can be reached.
"""

import base64
import json

SOUNDS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}


def request(fixture):
    """The client's request for a recorded exchange."""
    native = fixture.request
    if native is None or not isinstance(native, dict):
        chat = {"messages": [{"role": "user", "content": "Hello"}]}
        if fixture.tools_called:
            chat["tools"] = [function(name, None, {"type": "object"}) for name in fixture.tools_called]
    else:
        chat = READERS[fixture.upstream](native)
    chat = {"model": fixture.model, **{name: value for name, value in chat.items() if value not in (None, [])}}
    if fixture.upstream != "openai_chat" or native is None:
        chat.pop("stream", None)
        if fixture.stream:
            chat["stream"] = True
            chat["stream_options"] = {"include_usage": True}
    return chat


# What many dialects share


def text(words, **more):
    return {"type": "text", "text": words, **more}


def image(mime, data):
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}"}}


def image_url(url):
    return {"type": "image_url", "image_url": {"url": url}}


def file(mime, data, name=None):
    found = {"file_data": f"data:{mime};base64,{data}"}
    return {"type": "file", "file": {"filename": name, **found} if name else found}


def media(mime, data, name=None):
    if mime.startswith("image/"):
        return image(mime, data)
    if mime in SOUNDS:
        return {"type": "input_audio", "input_audio": {"data": data, "format": SOUNDS[mime]}}
    return file(mime, data, name)


def function(name, description, schema, strict=None):
    found = {"name": name}
    if description is not None:
        found["description"] = description
    if schema is not None:
        found["parameters"] = schema
    if strict is not None:
        found["strict"] = strict
    return {"type": "function", "function": found}


def call(identity, name, arguments):
    arguments = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def schema_format(schema, name="response", strict=None):
    found = {"name": name, "schema": schema}
    if strict is not None:
        found["strict"] = strict
    return {"type": "json_schema", "json_schema": found}


def joined(parts):
    """Parts as content: a text alone is a string."""
    if len(parts) == 1 and set(parts[0]) == {"type", "text"}:
        return parts[0]["text"]
    return parts


def assistant(parts, calls, thoughts=""):
    message = {"role": "assistant", "content": joined(parts) if parts else None}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def named(name):
    return {"type": "function", "function": {"name": name}}


# Anthropic: messages


def anthropic(native):
    messages = []
    if native.get("system"):
        messages.append({"role": "system", "content": joined(anthropic_parts(native["system"]))})
    for message in native["messages"]:
        messages += anthropic_turn(message)
    chat = {
        "messages": messages,
        "max_completion_tokens": native.get("max_tokens"),
        "temperature": native.get("temperature"),
        "top_p": native.get("top_p"),
        "top_k": native.get("top_k"),
        "stop": native.get("stop_sequences"),
        "tools": [anthropic_tool(tool) for tool in native.get("tools") or []],
    }
    choice = native.get("tool_choice") or {}
    kind = choice.get("type")
    if kind:
        words = {"auto": "auto", "any": "required", "none": "none"}
        chat["tool_choice"] = named(choice["name"]) if kind == "tool" else words[kind]
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    if native.get("thinking"):
        chat["thinking"] = native["thinking"]
    output = native.get("output_config") or {}
    if output.get("effort"):
        chat["reasoning_effort"] = output["effort"]
    if (output.get("format") or {}).get("schema"):
        chat["response_format"] = schema_format(output["format"]["schema"])
    return chat


def anthropic_parts(content):
    if isinstance(content, str):
        return [text(content)]
    return [part for part in map(anthropic_part, content) if part]


def anthropic_part(block):
    more = {"cache_control": block["cache_control"]} if block.get("cache_control") else {}
    source = block.get("source") or {}
    kind = block["type"]
    if kind == "text":
        return text(block["text"], **more)
    if kind == "image":
        if source["type"] == "url":
            return {**image_url(source["url"]), **more}
        return {**image(source["media_type"], source["data"]), **more} if source["type"] == "base64" else None
    if kind == "document":
        if source["type"] == "base64":
            return {**file(source["media_type"], source["data"], block.get("title")), **more}
        if source["type"] == "text":
            data = base64.b64encode(source["data"].encode()).decode()
            return {**file("text/plain", data, block.get("title")), **more}
        if source["type"] == "url":
            return {"type": "file", "file": {"file_url": source["url"]}, **more}
    return None


def anthropic_tool(tool):
    if tool.get("type", "custom") == "custom":
        found = function(tool["name"], tool.get("description"), tool.get("input_schema"), tool.get("strict"))
        return {**found, "cache_control": tool["cache_control"]} if tool.get("cache_control") else found
    kind = "web_search" if tool["type"].startswith("web_search") else tool["type"]
    return {**{name: value for name, value in tool.items() if name != "name"}, "type": kind}


def anthropic_turn(message):
    content = message["content"]
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    if message["role"] == "assistant":
        calls = [call(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
        thoughts = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
        return [assistant(anthropic_parts([block for block in blocks if block["type"] == "text"]), calls, thoughts)]
    turns = []
    for block in blocks:
        if block["type"] == "tool_result":
            parts = anthropic_parts(block.get("content") or "")
            turns.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": joined(parts) or ""})
            if block.get("cache_control"):
                turns[-1]["cache_control"] = block["cache_control"]
    parts = anthropic_parts([block for block in blocks if block["type"] != "tool_result"])
    if parts:
        turns.append({"role": message["role"], "content": joined(parts)})
    return turns


# Google: generateContent


def either(value, *names):
    """A field in either of Google's spellings."""
    for name in names:
        if isinstance(value, dict) and value.get(name) is not None:
            return value[name]
    return None


def gemini(native):
    messages = []
    system = either(native, "systemInstruction", "system_instruction")
    if system:
        parts = system["parts"] if isinstance(system, dict) else [{"text": system}]
        parts = [parts] if isinstance(parts, dict) else parts
        messages.append({"role": "system", "content": joined([text(part.get("text", "")) for part in parts])})
    ids = []
    contents = native["contents"] if isinstance(native["contents"], list) else [native["contents"]]
    for content in contents:
        messages += gemini_turn(content, ids)
    config = either(native, "generationConfig", "generation_config") or {}
    chat = {
        "messages": messages,
        "max_completion_tokens": either(config, "maxOutputTokens", "max_output_tokens"),
        "temperature": config.get("temperature"),
        "top_p": either(config, "topP", "top_p"),
        "top_k": either(config, "topK", "top_k"),
        "seed": config.get("seed"),
        "n": either(config, "candidateCount", "candidate_count"),
        "stop": either(config, "stopSequences", "stop_sequences"),
        "presence_penalty": either(config, "presencePenalty", "presence_penalty"),
        "frequency_penalty": either(config, "frequencyPenalty", "frequency_penalty"),
        "tools": gemini_tools(native.get("tools") or []),
    }
    if either(config, "responseLogprobs", "response_logprobs"):
        chat["logprobs"] = True
        chat["top_logprobs"] = config.get("logprobs")
    schema = either(config, "responseJsonSchema", "responseSchema", "response_schema", "response_json_schema")
    if schema:
        chat["response_format"] = schema_format(lower(schema))
    elif either(config, "responseMimeType", "response_mime_type") == "application/json":
        chat["response_format"] = {"type": "json_object"}
    modalities = [word.lower() for word in either(config, "responseModalities", "response_modalities") or []]
    if modalities and modalities != ["text"]:
        chat["modalities"] = modalities
    thinking = either(config, "thinkingConfig", "thinking_config") or {}
    level, budget = either(thinking, "thinkingLevel", "thinking_level"), either(thinking, "thinkingBudget")
    if level:
        chat["reasoning_effort"] = level.lower()
    elif budget is not None:
        chat["reasoning"] = {"max_tokens": budget} if budget > 0 else {"enabled": budget < 0}
    calling = either(either(native, "toolConfig", "tool_config") or {}, "functionCallingConfig") or {}
    allowed = either(calling, "allowedFunctionNames", "allowed_function_names") or []
    mode = (calling.get("mode") or "").lower()
    if mode:
        chat["tool_choice"] = {"any": "required", "none": "none"}.get(mode, "auto")
    declared = [tool for tool in chat["tools"] if tool["type"] == "function"]
    if len(allowed) == 1 and mode == "any":
        chat["tool_choice"] = named(allowed[0])
    elif allowed and len(allowed) < len(declared):
        tools = [named(name) for name in allowed]
        chat["tool_choice"] = {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "required" if mode == "any" else "auto", "tools": tools},
        }
    return chat


def lower(schema):
    """A schema in JSON's words for types, which Google writes in capitals."""
    if isinstance(schema, list):
        return [lower(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: lower(value) for name, value in schema.items()}
    if isinstance(found.get("type"), str):
        found["type"] = found["type"].lower()
    return found


def gemini_tools(tools):
    found = []
    for tool in tools:
        for declared in either(tool, "functionDeclarations", "function_declarations") or []:
            schema = either(declared, "parametersJsonSchema", "parameters_json_schema", "parameters")
            found.append(function(declared["name"], declared.get("description"), lower(schema)))
        if either(tool, "googleSearch", "google_search") is not None:
            found.append({"type": "web_search"})
    return found


def gemini_part(part):
    inline = either(part, "inlineData", "inline_data")
    if inline:
        return media(either(inline, "mimeType", "mime_type"), inline["data"], either(inline, "displayName"))
    stored = either(part, "fileData", "file_data")
    if stored:
        url = either(stored, "fileUri", "file_uri")
        mime = either(stored, "mimeType", "mime_type") or ""
        return image_url(url) if mime.startswith("image/") else {"type": "file", "file": {"file_url": url}}
    if part.get("text") is not None:
        return text(part["text"])
    return None


def gemini_turn(content, ids):
    parts = content if isinstance(content, list) else content.get("parts") or []
    parts = [{"text": part} if isinstance(part, str) else part for part in parts]
    role = content.get("role") if isinstance(content, dict) else "user"
    if role == "model":
        calls = []
        for part in parts:
            made = either(part, "functionCall", "function_call")
            if made:
                ids.append((made.get("id") or f"call_{len(ids)}_{made['name']}", made["name"]))
                calls.append(call(ids[-1][0], made["name"], made.get("args")))
                seal = either(part, "thoughtSignature", "thought_signature")
                if seal:
                    calls[-1]["extra_content"] = {"google": {"thought_signature": seal}}
        words = [gemini_part(part) for part in parts if not part.get("thought")]
        thoughts = "".join(part.get("text") or "" for part in parts if part.get("thought"))
        return [assistant([part for part in words if part], calls, thoughts)]
    turns = []
    for part in parts:
        result = either(part, "functionResponse", "function_response")
        if result:
            known = [identity for identity in ids if identity[1] == result["name"]] or [(result.get("id"), "")]
            identity = result.get("id") or known[0][0] or f"call_{result['name']}"
            if known[0] in ids:
                ids.remove(known[0])
            value = result["response"]
            words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            turns.append({"role": "tool", "tool_call_id": identity, "content": words})
    words = [part for part in map(gemini_part, parts) if part]
    if words:
        turns.append({"role": "user", "content": joined(words)})
    return turns


# AWS: Converse

FILES = {"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}


def converse(native):
    messages = []
    system = [text(block["text"]) for block in native.get("system") or [] if block.get("text")]
    marked = any(block.get("cachePoint") for block in native.get("system") or [])
    if system:
        if marked:
            system[-1]["cache_control"] = {"type": "ephemeral"}
        messages.append({"role": "system", "content": joined(system)})
    for message in native.get("messages") or []:
        messages += converse_turn(message)
    config = native.get("inferenceConfig") or {}
    more = native.get("additionalModelRequestFields") or {}
    tools = native.get("toolConfig") or {}
    chat = {
        "messages": messages,
        "max_completion_tokens": config.get("maxTokens"),
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "stop": config.get("stopSequences"),
        "tools": [
            function(tool["toolSpec"]["name"], tool["toolSpec"].get("description"), tool["toolSpec"]["inputSchema"]["json"])
            for tool in tools.get("tools") or []
            if "toolSpec" in tool
        ],
        "thinking": more.get("thinking"),
        "reasoning_effort": more.get("reasoning_effort") or (more.get("output_config") or {}).get("effort"),
    }
    choice = tools.get("toolChoice") or {}
    if "tool" in choice:
        chat["tool_choice"] = named(choice["tool"]["name"])
    elif choice:
        chat["tool_choice"] = "required" if "any" in choice else "auto"
    wanted = ((native.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    if wanted.get("jsonSchema"):
        schema = wanted["jsonSchema"]["schema"]
        schema = json.loads(schema) if isinstance(schema, str) else schema
        chat["response_format"] = schema_format(schema, wanted["jsonSchema"].get("name") or "response")
    return chat


def converse_parts(blocks):
    parts = []
    for block in blocks:
        if block.get("text") is not None:
            parts.append(text(block["text"]))
        elif "json" in block:
            parts.append(text(json.dumps(block["json"], ensure_ascii=False)))
        elif "cachePoint" in block and parts:
            parts[-1]["cache_control"] = {"type": "ephemeral"}
        for kind in ("image", "document", "video"):
            source = (block.get(kind) or {}).get("source") or {}
            if "bytes" in source:
                form = block[kind]["format"]
                mime = FILES.get(form, f"{kind}/{form}")
                parts.append(media(mime, source["bytes"], block[kind].get("name") if kind == "document" else None))
    return parts


def converse_turn(message):
    blocks = message["content"]
    if message["role"] == "assistant":
        uses = [block["toolUse"] for block in blocks if "toolUse" in block]
        thoughts = [(block.get("reasoningContent") or {}).get("reasoningText") or {} for block in blocks]
        calls = [call(use["toolUseId"], use["name"], use["input"]) for use in uses]
        words = "".join(thought.get("text") or "" for thought in thoughts)
        return [assistant(converse_parts(blocks), calls, words)]
    turns = []
    for block in blocks:
        if "toolResult" in block:
            result = block["toolResult"]
            words = joined(converse_parts(result["content"])) or ""
            turns.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": words})
    parts = converse_parts([block for block in blocks if "toolResult" not in block])
    if parts:
        turns.append({"role": "user", "content": joined(parts)})
    return turns


# OpenAI: Responses


def responses(native):
    messages = []
    if native.get("instructions"):
        messages.append({"role": "system", "content": native["instructions"]})
    given = native.get("input") or []
    thoughts = ""
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = item.get("type", "message")
        last = messages[-1] if messages else {}
        if kind == "message":
            parts = responses_parts(item["content"])
            if item["role"] == "assistant":
                messages.append(assistant(parts, [], thoughts))
                thoughts = ""
            else:
                messages.append({"role": item["role"], "content": joined(parts)})
        elif kind == "reasoning":
            thoughts = "".join(part.get("text", "") for part in item.get("summary") or [])
        elif kind in ("function_call", "custom_tool_call"):
            if last.get("role") != "assistant":
                messages.append(assistant([], [], thoughts))
                thoughts = ""
            arguments = item.get("arguments") or json.dumps({"input": item.get("input", "")})
            messages[-1].setdefault("tool_calls", []).append(call(item["call_id"], item["name"], arguments))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            output = item["output"]
            words = output if isinstance(output, str) else joined(responses_parts(output))
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": words or ""})
    chat = {
        "messages": messages or [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": native.get("max_output_tokens"),
        "temperature": native.get("temperature"),
        "top_p": native.get("top_p"),
        "parallel_tool_calls": native.get("parallel_tool_calls"),
        "user": native.get("user"),
        "prompt_cache_key": native.get("prompt_cache_key"),
        "reasoning_effort": (native.get("reasoning") or {}).get("effort"),
        "tools": [tool for tool in map(responses_tool, native.get("tools") or []) if tool],
    }
    choice = native.get("tool_choice")
    if isinstance(choice, str):
        chat["tool_choice"] = choice
    elif isinstance(choice, dict) and choice.get("type") == "function":
        chat["tool_choice"] = named(choice["name"])
    wanted = (native.get("text") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        chat["response_format"] = schema_format(wanted["schema"], wanted["name"], wanted.get("strict"))
    elif wanted.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    if "message.output_text.logprobs" in (native.get("include") or []):
        chat["logprobs"] = True
        chat["top_logprobs"] = native.get("top_logprobs")
    if not chat["tools"]:
        chat["tool_choice"] = chat["parallel_tool_calls"] = None
    return chat


def responses_tool(tool):
    if tool["type"] == "function":
        return function(tool["name"], tool.get("description"), tool.get("parameters"), tool.get("strict"))
    if tool["type"].startswith("web_search"):
        return {**tool, "type": "web_search"}
    return None


def responses_parts(content):
    if isinstance(content, str):
        return [text(content)]
    parts = []
    for part in content:
        if part.get("type") in ("input_text", "output_text", "text"):
            parts.append(text(part["text"]))
        elif part.get("type") == "refusal":
            parts.append({"type": "refusal", "refusal": part["refusal"]})
        elif part.get("type") == "input_image" and part.get("image_url"):
            parts.append(image_url(part["image_url"]))
            if part.get("detail"):
                parts[-1]["image_url"]["detail"] = part["detail"]
        elif part.get("type") == "input_file":
            found = {name: part[name] for name in ("filename", "file_data", "file_url") if part.get(name)}
            parts.append({"type": "file", "file": found})
    return parts


# Cohere: chat v2


def cohere(native):
    messages = []
    for message in native["messages"]:
        found = {name: value for name, value in message.items() if name in ("role", "content", "tool_call_id")}
        if isinstance(found.get("content"), list):
            found["content"] = joined(cohere_parts(found["content"])) or ""
        if message["role"] == "assistant":
            thoughts = message.get("tool_plan") or ""
            content = message.get("content")
            if isinstance(content, list):
                thoughts += "".join(part.get("thinking", "") for part in content if part["type"] == "thinking")
            calls = [call(made["id"], made["function"]["name"], made["function"]["arguments"]) for made in message.get("tool_calls") or []]
            parts = found.get("content") or []
            found = assistant([text(parts)] if isinstance(parts, str) and parts else parts, calls, thoughts)
        messages.append(found)
    thinking = native.get("thinking") or {}
    chat = {
        "messages": messages,
        "max_completion_tokens": native.get("max_tokens"),
        "temperature": native.get("temperature"),
        "top_p": native.get("p"),
        "top_k": native.get("k"),
        "seed": native.get("seed"),
        "stop": native.get("stop_sequences"),
        "presence_penalty": native.get("presence_penalty"),
        "frequency_penalty": native.get("frequency_penalty"),
        "tools": native.get("tools"),
    }
    if native.get("tool_choice"):
        chat["tool_choice"] = native["tool_choice"].lower()
    if thinking.get("type") == "disabled":
        chat["reasoning_effort"] = "none"
    elif thinking.get("token_budget"):
        chat["reasoning"] = {"max_tokens": thinking["token_budget"]}
    wanted = native.get("response_format") or {}
    schema = wanted.get("json_schema") or wanted.get("schema")
    if schema:
        chat["response_format"] = schema_format(schema)
    elif wanted.get("type") == "json_object":
        chat["response_format"] = {"type": "json_object"}
    return chat


def cohere_parts(content):
    parts = []
    for part in content:
        if part["type"] == "text":
            parts.append(text(part["text"]))
        elif part["type"] == "image_url":
            url = part["image_url"]
            parts.append(image_url(url["url"] if isinstance(url, dict) else url))
        elif part["type"] == "document":
            data = part["document"].get("data")
            parts.append(text(data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)))
    return parts


def same(native):
    """OpenAI chat itself, and the part of it that Cloudflare takes."""
    return {name: value for name, value in native.items() if name != "model"}


READERS = {
    "anthropic": anthropic,
    "gemini": gemini,
    "converse": converse,
    "responses": responses,
    "cohere": cohere,
    "cloudflare": same,
    "openai_chat": same,
}
