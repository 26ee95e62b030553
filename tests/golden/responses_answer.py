"""What OpenAI's SDK finds in an answer of OpenAI's responses, and whether its own types take all of it."""

import functools
import re
import typing

import openai
import pydantic
from openai.types.responses import Response, ResponseStreamEvent

from chat_answer import error_of, parsed

PICTURE = re.compile(r"!\[image\]\(([^)]*)\)")
EVENTS = {kind: event for event in typing.get_args(typing.get_args(ResponseStreamEvent)[0])
          for kind in typing.get_args(event.model_fields["type"].annotation)}
# Agents act on codes that the types do not list.
CODES = {"insufficient_quota", "context_length_exceeded"}


class Untyped(Exception):
    """What the SDK's own types do not take."""


def typed(value, kind):
    """Stops where a type does not take a value."""
    error = (value.get("response") or value).get("error") if isinstance(value, dict) else None
    if error and error.get("code") in CODES:
        error["code"] = "server_error"
    try:
        kind.model_validate(value)
    except pydantic.ValidationError as failure:
        first = failure.errors()[0]
        raise Untyped(f"{kind.__name__} {first['loc']}: {first['msg']}: {str(first['input'])[:200]}") from None


def meaning(response):
    """A response as `expected.json` tells it."""
    text = reasoning = refusal = ""
    tools, images, citations = [], 0, set()
    for item in response.output:
        if item.type == "message":
            for part in item.content:
                text += part.text if part.type == "output_text" else ""
                refusal += part.refusal if part.type == "refusal" else ""
                for note in getattr(part, "annotations", None) or []:
                    if getattr(note, "url", None):
                        citations.add(note.url)
        elif item.type == "reasoning":
            reasoning += "".join(part.text for part in [*item.summary, *(item.content or [])])
        elif item.type == "function_call":
            tools.append({"name": item.name, "arguments": parsed(item.arguments)})
        elif item.type == "image_generation_call":
            images += 1
    images += len(PICTURE.findall(text))
    text = PICTURE.sub("", text)
    usage = response.usage
    finish = {"completed": "tool_calls" if tools else "stop"}.get(response.status)
    if response.status == "incomplete":
        finish = "content_filter" if response.incomplete_details.reason == "content_filter" else "length"
    counts = usage and {
        "input": usage.input_tokens - usage.input_tokens_details.cached_tokens
        - usage.input_tokens_details.cache_write_tokens,
        "cached": usage.input_tokens_details.cached_tokens,
        "cache_write": usage.input_tokens_details.cache_write_tokens,
        "output": usage.output_tokens - usage.output_tokens_details.reasoning_tokens,
        "reasoning": usage.output_tokens_details.reasoning_tokens,
    }
    found = {"text": text, "reasoning": reasoning, "refusal": refusal, "tools": tools, "finish": finish,
             "images": images, "citations": sorted(citations), "usage": counts}
    if response.error:
        found["error"] = {"message": response.error.message}
    return found


@functools.cache
def client(url):
    return openai.OpenAI(base_url=url, api_key="sk-none", max_retries=0)


def read(url, stream):
    """Asks the server at this address as a client would."""
    try:
        if not stream:
            raw = client(url).responses.with_raw_response.create(model="m", input="x")
            typed(raw.http_response.json(), Response)
            return meaning(raw.parse())
        last = None
        with client(url).responses.stream(model="m", input="x") as events:
            for event in events:
                last = event.response if hasattr(event, "response") else last
        raw = client(url).responses.create(model="m", input="x", stream=True)
        for event in raw:
            typed(event.to_dict(mode="json"), EVENTS[event.type])
        return meaning(last)
    except openai.APIError as failure:
        return {"error": error_of(failure)}
