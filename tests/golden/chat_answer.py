"""What OpenAI's SDK finds in an answer of OpenAI chat."""

import functools
import json
import re

import openai

PICTURE = re.compile(r"!\[image\]\(([^)]*)\)")


def parsed(arguments):
    """Arguments as the value they stand for; words that are no JSON stay words."""
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        return json.loads(arguments or "{}") or {}
    except ValueError:
        return arguments


def error_of(failure):
    """An SDK's exception as the meaning of a failed answer. Not every provider's body has OpenAI's shape."""
    body = getattr(failure, "body", None)
    if not isinstance(body, dict):
        try:
            body = failure.response.json()
        except (AttributeError, ValueError):
            body = {}
    words = [body.get(name) for name in ("message", "error", "detail")] if isinstance(body, dict) else []
    message = next((word for word in words if isinstance(word, str)), None)
    return {"status": getattr(failure, "status_code", None), "message": message or str(failure)}


class Candidate:
    """One candidate, as far as it was told."""

    def __init__(self):
        self.text = self.reasoning = self.refusal = ""
        self.calls, self.images, self.citations, self.finish = {}, 0, [], None

    def add(self, message, whole):
        more = message.model_extra or {}
        content = message.content
        for part in content if isinstance(content, list) else []:
            part = part if isinstance(part, dict) else part.model_dump()
            self.text += part.get("text") or ""
            for word in ("thinking", "summary"):
                inner = part.get(word) or []
                self.reasoning += inner if isinstance(inner, str) else "".join(piece.get("text", "") for piece in inner)
        if isinstance(content, str):
            self.text += content
        self.reasoning += more.get("reasoning_content") or more.get("reasoning") or ""
        self.refusal += message.refusal or ""
        for place, call in enumerate(message.tool_calls or []):
            index = place if whole or call.index is None else call.index
            found = self.calls.setdefault(index, ["", ""])
            found[0] += (call.function and call.function.name) or ""
            arguments = (call.function and call.function.arguments) or ""
            found[1] += arguments if isinstance(arguments, str) else json.dumps(arguments)
        self.images += len(more.get("images") or [])
        for note in getattr(message, "annotations", None) or more.get("annotations") or []:
            note = note if isinstance(note, dict) else note.model_dump()
            self.citations.append((note.get("url_citation") or {}).get("url"))

    def meaning(self):
        # A picture within the text is a picture.
        self.images += len(PICTURE.findall(self.text))
        tools = [{"name": name, "arguments": parsed(text)} for _, (name, text) in sorted(self.calls.items())]
        return {
            "text": PICTURE.sub("", self.text),
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "tools": tools,
            "finish": self.finish,
            "images": self.images,
            "citations": sorted({url for url in self.citations if url}),
        }


def usage(told):
    if told is None:
        return None
    given, made = told.prompt_tokens_details, told.completion_tokens_details
    cached = (given and given.cached_tokens) or 0
    written = (given and (given.model_extra or {}).get("cache_write_tokens", getattr(given, "cache_write_tokens", 0))) or 0
    reasoning = (made and made.reasoning_tokens) or 0
    return {
        "input": (told.prompt_tokens or 0) - cached - written,
        "cached": cached,
        "cache_write": written,
        "output": (told.completion_tokens or 0) - reasoning,
        "reasoning": reasoning,
    }


def meaning(candidates, counted):
    first, *more = [candidates[index].meaning() for index in sorted(candidates)] or [Candidate().meaning()]
    found = {**first, "usage": usage(counted)}
    return {**found, "more": more} if more else found


@functools.cache
def client(url):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def read(url, stream):
    """Asks a server that answers in OpenAI chat, and tells what the answer means."""
    candidates, counted = {}, None
    try:
        answer = client(url).chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], stream=stream)
        for chunk in answer if stream else [answer]:
            counted = chunk.usage or counted
            for choice in chunk.choices or []:
                candidate = candidates.setdefault(choice.index, Candidate())
                message = (getattr(choice, "delta", None) or getattr(choice, "message", None)) if stream else choice.message
                if message is not None:
                    candidate.add(message, not stream)
                candidate.finish = choice.finish_reason or candidate.finish
    except openai.APIError as failure:
        told = meaning(candidates, None) if candidates else {}
        return {**told, "error": error_of(failure)}
    return meaning(candidates, counted)
