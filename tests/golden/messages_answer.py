"""What Anthropic's SDK finds in an answer of its messages."""

import functools
import re

import anthropic

PICTURE = re.compile(r"!\[image\]\(([^)]*)\)")
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def usage(told):
    details = (told.model_extra or {}).get("output_tokens_details") or getattr(told, "output_tokens_details", None) or {}
    reasoning = details.get("thinking_tokens", 0) if isinstance(details, dict) else details.thinking_tokens or 0
    return {
        "input": told.input_tokens,
        "cached": told.cache_read_input_tokens or 0,
        "cache_write": told.cache_creation_input_tokens or 0,
        "output": told.output_tokens - reasoning,
        "reasoning": reasoning,
    }


def meaning(message):
    text, reasoning, tools, citations, images = "", "", [], set(), 0
    for block in message.content:
        if block.type == "text":
            images += len(PICTURE.findall(block.text))
            text += PICTURE.sub("", block.text)
            citations |= {getattr(citation, "url", None) for citation in block.citations or []}
        elif block.type == "thinking":
            reasoning += block.thinking
        elif block.type == "tool_use":
            tools.append({"name": block.name, "arguments": block.input})
    return {
        "text": text,
        "reasoning": reasoning,
        "refusal": "",
        "tools": tools,
        "finish": FINISHES.get(message.stop_reason),
        "images": images,
        "citations": sorted(citations - {None}),
        "usage": usage(message.usage),
    }


def expected(found):
    """What a client of this dialect should find: a refusal is its text, and why it ended."""
    if not found.get("refusal"):
        return found
    finish = "content_filter" if found["finish"] == "stop" else found["finish"]
    return {**found, "text": found["text"] + found["refusal"], "refusal": "", "finish": finish}


@functools.cache
def client(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def read(url, stream):
    """Asks a server that answers in messages, and tells what the answer means."""
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
    told = None
    try:
        if not stream:
            return meaning(client(url).messages.create(**asked))
        with client(url).messages.stream(**asked) as answer:
            for _ in answer:
                told = answer.current_message_snapshot
            return meaning(answer.get_final_message())
    except anthropic.APIError as failure:
        body = failure.body if isinstance(failure.body, dict) else {}
        message = (body.get("error") or {}).get("message") or str(failure)
        return {**(meaning(told) if told else {}), "error": {"message": message}}
