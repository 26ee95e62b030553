"""What the provider's own SDK finds in a recorded answer: one reader per dialect.

Every reader asks a server that replays the answer, and gives back the meaning in the form of `expected.json`.
"""

import json

import anthropic
import botocore.config
import botocore.exceptions
import botocore.session
import cohere
import google.oauth2.credentials
import google.genai
import google.genai.errors
import httpx
import openai
from google.genai import types

import chat_answer
from chat_answer import error_of, parsed

HELLO = [{"role": "user", "content": "Hello"}]


class Meaning:
    """What an answer says, gathered."""

    def __init__(self):
        self.text = self.reasoning = self.refusal = ""
        self.tools, self.images, self.citations = [], 0, []
        self.finish = self.usage = self.error = None

    def call(self, name, arguments):
        self.tools.append({"name": name, "arguments": parsed(arguments)})

    def count(self, given, cached, written, made, reasoning):
        counts = [int(count or 0) for count in (given, cached, written, made, reasoning)]
        self.usage = dict(zip(("input", "cached", "cache_write", "output", "reasoning"), counts))

    def value(self):
        # A call that is given out is waited for, whatever the provider calls the end.
        finish = "tool_calls" if self.tools and self.finish == "stop" else self.finish
        found = {
            "text": self.text,
            "reasoning": self.reasoning,
            "refusal": self.refusal,
            "tools": self.tools,
            "finish": finish,
            "images": self.images,
            "citations": sorted({url for url in self.citations if url}),
            "usage": self.usage,
        }
        # Counts come with the end, which an answer that failed has not.
        return {**found, "finish": None, "usage": None, "error": self.error} if self.error else found


# Anthropic

ANTHROPIC_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def read_anthropic(url, stream, provider):
    from anthropic.lib.streaming._messages import accumulate_event

    if provider == "bedrock":
        client = anthropic.AnthropicBedrock(
            aws_access_key="a", aws_secret_key="b", aws_region="us-east-1", base_url=url, max_retries=0
        )
    elif provider == "vertex-claude":
        client = anthropic.AnthropicVertex(
            region="us-east5", project_id="p", access_token="t", base_url=url, max_retries=0
        )
    else:
        client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    found, message, buffers = Meaning(), None, {}
    try:
        asked = {"model": "m", "max_tokens": 64, "messages": HELLO}
        if stream:
            for event in client.messages.create(**asked, stream=True):
                message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
        else:
            message = client.messages.create(**asked)
    except anthropic.APIError as failure:
        found.error = error_of(failure)
        inner = failure.body.get("error") if isinstance(failure.body, dict) else None
        if isinstance(inner, dict):
            found.error["message"] = inner.get("message")
        if message is None:
            return {"error": found.error}
    for block in message.content:
        if block.type == "text":
            found.text += block.text
            found.citations += [getattr(note, "url", None) for note in block.citations or []]
        elif block.type == "thinking":
            found.reasoning += block.thinking
        elif block.type == "tool_use":
            found.call(block.name, block.input)
    told = message.usage
    thought = getattr(told, "output_tokens_details", None)
    thought = thought.get("thinking_tokens") if isinstance(thought, dict) else getattr(thought, "thinking_tokens", 0)
    found.count(
        told.input_tokens,
        told.cache_read_input_tokens,
        told.cache_creation_input_tokens,
        (told.output_tokens or 0) - (thought or 0),
        thought,
    )
    found.finish = None if found.error else ANTHROPIC_ENDS[message.stop_reason]
    return found.value()


# Google

GEMINI_FILTERS = "SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT".split()


def read_gemini(url, stream, provider):
    if provider == "vertex-gemini":
        client = google.genai.Client(
            vertexai=True,
            project="p",
            location="us-central1",
            credentials=google.oauth2.credentials.Credentials(token="none"),
            http_options={"base_url": url},
        )
    else:
        client = google.genai.Client(api_key="none", http_options={"base_url": url})
    chunks = []
    try:
        if stream:
            for chunk in client.models.generate_content_stream(model="m", contents="Hello"):
                chunks.append(chunk)
        else:
            chunks.append(client.models.generate_content(model="m", contents="Hello"))
    except google.genai.errors.APIError as failure:
        error = {"status": failure.code, "message": failure.message}
        return {**gemini_meaning(chunks), "error": error} if chunks else {"error": error}
    return gemini_meaning(chunks)


def gemini_meaning(chunks):
    found, counted = {}, None
    for chunk in chunks:
        if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
            found.setdefault(0, Meaning()).finish = "content_filter"
        for candidate in chunk.candidates or []:
            gemini_candidate(candidate, found.setdefault(candidate.index or 0, Meaning()))
        counted = chunk.usage_metadata or counted
    first, *more = [found[index].value() for index in sorted(found)] or [Meaning().value()]
    if counted:
        total = Meaning()
        cached = counted.cached_content_token_count or 0
        given = (counted.prompt_token_count or 0) + (counted.tool_use_prompt_token_count or 0)
        total.count(given - cached, cached, 0, counted.candidates_token_count, counted.thoughts_token_count)
        first["usage"] = total.usage
    for other in more:
        del other["usage"]
    return {**first, "more": more} if more else first


def gemini_candidate(candidate, found):
    for part in (candidate.content and candidate.content.parts) or []:
        if part.thought:
            found.reasoning += part.text or ""
        elif part.text:
            found.text += part.text
        elif part.function_call:
            found.call(part.function_call.name, part.function_call.args)
        elif part.inline_data and (part.inline_data.mime_type or "").startswith("image/"):
            found.images += 1
    ground = candidate.grounding_metadata
    found.citations += [piece.web.uri for piece in (ground and ground.grounding_chunks) or [] if piece.web]
    cited = candidate.citation_metadata
    found.citations += [source.uri for source in (cited and cited.citations) or []]
    if candidate.finish_reason:
        word = candidate.finish_reason.value
        found.finish = "content_filter" if word in GEMINI_FILTERS else "length" if word == "MAX_TOKENS" else "stop"


# AWS

CONVERSE_ENDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}


def read_converse(url, stream, _provider):
    client = botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    found = Meaning()
    asked = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    try:
        if stream:
            converse_stream(client.converse_stream(**asked)["stream"], found)
        else:
            answer = client.converse(**asked)
            for block in answer["output"]["message"]["content"]:
                converse_block(block, found)
            converse_end(answer, found)
    except (botocore.exceptions.ClientError, botocore.exceptions.EventStreamError) as failure:
        told = failure.response
        status = told.get("ResponseMetadata", {}).get("HTTPStatusCode")
        found.error = {"status": status, "message": told["Error"].get("Message") or told["Error"].get("message")}
        if not (found.text or found.reasoning or found.tools):
            return {"error": found.error}
    return found.value()


def converse_stream(events, found):
    blocks = {}
    for event in events:
        if "contentBlockStart" in event:
            start = event["contentBlockStart"]
            blocks[start["contentBlockIndex"]] = {"start": start["start"], "input": ""}
        elif "contentBlockDelta" in event:
            index, delta = event["contentBlockDelta"]["contentBlockIndex"], event["contentBlockDelta"]["delta"]
            block = blocks.setdefault(index, {"start": {}, "input": ""})
            block["input"] += delta.get("toolUse", {}).get("input", "")
            if "text" in delta:
                found.text += delta["text"]
            found.reasoning += delta.get("reasoningContent", {}).get("text", "")
            converse_cited([delta["citation"]] if "citation" in delta else [], found)
        elif "messageStop" in event:
            found.finish = event["messageStop"]["stopReason"]
        elif "metadata" in event:
            found.usage = event["metadata"].get("usage")
    for _, block in sorted(blocks.items()):
        use = block["start"].get("toolUse")
        if use and use.get("type") != "server_tool_use":
            found.call(use["name"], block["input"])
    converse_end({"stopReason": found.finish, "usage": found.usage}, found)


def converse_block(block, found):
    found.text += block.get("text", "")
    cited = block.get("citationsContent", {})
    found.text += "".join(piece.get("text", "") for piece in cited.get("content", []))
    converse_cited(cited.get("citations", []), found)
    found.reasoning += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
    if "toolUse" in block and block["toolUse"].get("type") != "server_tool_use":
        found.call(block["toolUse"]["name"], block["toolUse"]["input"])
    found.images += "image" in block


def converse_cited(citations, found):
    for citation in citations:
        found.citations.append(citation.get("location", {}).get("web", {}).get("url"))


def converse_end(answer, found):
    found.finish = CONVERSE_ENDS.get(answer["stopReason"], "stop") if answer["stopReason"] else None
    told = answer.get("usage")
    if told:
        read, written = told.get("cacheReadInputTokens"), told.get("cacheWriteInputTokens")
        found.count(told["inputTokens"], read, written, told["outputTokens"], 0)


# OpenAI Responses


def read_responses(url, stream, _provider):
    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    found, answer, last = Meaning(), None, None
    try:
        if stream:
            for event in client.responses.create(model="m", input="Hello", stream=True):
                if event.type == "error":
                    found.error = {"status": None, "message": event.message}
                if event.type in ("response.output_text.delta",) and found.error is None:
                    found.text += event.delta
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    answer = event.response
        else:
            answer = client.responses.create(model="m", input="Hello")
    except openai.APIError as failure:
        found.error = error_of(failure)
    if answer is None:
        return found.value() if found.text else {"error": found.error}
    found.text = ""
    for item in answer.output or []:
        if item.type == "message":
            for part in item.content or []:
                if part.type == "output_text":
                    found.text += part.text
                    found.citations += [getattr(note, "url", None) for note in part.annotations or []]
                elif part.type == "refusal":
                    found.refusal += part.refusal
        elif item.type == "reasoning":
            pieces = item.summary or item.content or []
            found.reasoning += "\n\n".join(piece.text for piece in pieces)
        elif item.type == "function_call":
            found.call(item.name, item.arguments)
        elif item.type == "custom_tool_call":
            found.call(item.name, {"input": item.input})
        elif item.type == "image_generation_call" and item.result:
            found.images += 1
    why = answer.incomplete_details and answer.incomplete_details.reason
    found.finish = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(why, "stop")
    if answer.error:
        found.error = {"status": None, "message": answer.error.message}
        found.finish = None
    told = answer.usage
    if told:
        cached = (told.input_tokens_details and told.input_tokens_details.cached_tokens) or 0
        written = (told.input_tokens_details and getattr(told.input_tokens_details, "cache_write_tokens", 0)) or 0
        thought = (told.output_tokens_details and told.output_tokens_details.reasoning_tokens) or 0
        found.count(told.input_tokens - cached - written, cached, written, told.output_tokens - thought, thought)
    return found.value()


# Cohere

COHERE_ENDS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


def read_cohere(url, stream, _provider):
    client = cohere.ClientV2(api_key="none", base_url=url, max_retries=0)
    found = Meaning()
    try:
        if stream:
            cohere_stream(client.chat_stream(model="m", messages=HELLO), found)
        else:
            answer = client.chat(model="m", messages=HELLO)
            message = answer.message
            found.reasoning += message.tool_plan or ""
            for part in message.content or []:
                found.text += getattr(part, "text", None) or ""
                found.reasoning += getattr(part, "thinking", None) or ""
            for made in message.tool_calls or []:
                found.call(made.function.name, made.function.arguments)
            cohere_cited(message.citations or [], found)
            cohere_end(answer, found)
    except cohere.core.ApiError as failure:
        message = failure.body.get("message") if isinstance(failure.body, dict) else str(failure.body)
        return {"error": {"status": failure.status_code, "message": message}}
    return found.value()


def cohere_stream(events, found):
    calls = {}
    for event in events:
        message = getattr(getattr(event, "delta", None), "message", None)
        if event.type == "content-delta" or event.type == "content-start":
            found.text += getattr(message.content, "text", None) or ""
            found.reasoning += getattr(message.content, "thinking", None) or ""
        elif event.type == "tool-plan-delta":
            found.reasoning += message.tool_plan or ""
        elif event.type == "tool-call-start":
            calls[event.index] = [message.tool_calls.function.name, message.tool_calls.function.arguments or ""]
        elif event.type == "tool-call-delta":
            calls[event.index][1] += message.tool_calls.function.arguments or ""
        elif event.type == "citation-start":
            noted = message.citations
            cohere_cited(noted if isinstance(noted, list) else [noted], found)
        elif event.type == "message-end":
            cohere_end(event.delta, found)
    for _, (name, arguments) in sorted(calls.items()):
        found.call(name, arguments)


def cohere_cited(citations, found):
    for citation in citations:
        for source in citation.sources or []:
            document = getattr(source, "document", None) or {}
            found.citations.append(document.get("url") if isinstance(document, dict) else None)


def cohere_end(answer, found):
    found.finish = COHERE_ENDS.get(answer.finish_reason)
    told = answer.usage
    if told and told.tokens:
        cached = int(getattr(told, "cached_tokens", None) or 0)
        found.count((told.tokens.input_tokens or 0) - cached, cached, 0, told.tokens.output_tokens, 0)


# Cloudflare has no SDK of its own for its models' native answers beyond the envelope: its documents are followed.


def read_cloudflare(url, stream, _provider):
    found, told = Meaning(), None
    answer = httpx.post(url, json={"messages": HELLO})
    found.finish = "stop"
    if stream:
        for line in answer.text.splitlines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                found.text += chunk.get("response") or ""
                told = chunk.get("usage") or told
    else:
        result = answer.json()["result"]
        found.text, told = result["response"], result.get("usage")
    if told:
        found.count(told["prompt_tokens"], 0, 0, told["completion_tokens"], 0)
    return found.value()


def read_openai_chat(url, stream, _provider):
    return chat_answer.read(url, stream)


READERS = {
    "anthropic": read_anthropic,
    "gemini": read_gemini,
    "converse": read_converse,
    "responses": read_responses,
    "cohere": read_cohere,
    "cloudflare": read_cloudflare,
    "openai_chat": read_openai_chat,
}


def read(replay, upstream, provider, stream):
    """The meaning of the answer that `replay` plays."""
    return READERS[upstream](replay.url, stream, provider)
