"""Whether requests that the gateway writes are what the providers' own types allow, and say all that they can say.

usage: valid.py REQUESTS

REQUESTS is a file of JSON lines: `{"case", "upstream", "request"}` with the client's request, and `sent` (what goes to
the upstream) or `refused` (why it cannot be asked that). The types are those of the official SDKs; of AWS its own
validator. Ends with exit code 1 when a request is not valid or loses what its upstream can express.
"""

import collections
import enum
import functools
import inspect
import json
import sys
import types
import typing

import botocore.session
import botocore.validate
import cohere.base_client
import cohere.v2.client
import pydantic
import typing_extensions
from anthropic.types import message_create_params
from google.genai import types as google
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

import losses

# What SDKs do not type, but the provider's documents name.
UNTYPED = {
    # Only older models take these.
    "anthropic": {"temperature", "top_p", "top_k"},
    "openai_chat": {"top_k", "min_p", "reasoning", "thinking", "documents"},
}


# A value and a type


def wrong(value, kind, at):
    """What is wrong with a value of a type: a list of sentences, empty when it fits."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any or kind is object or isinstance(kind, typing.TypeVar):
        return []
    if origin in (typing.Annotated, typing.Required, typing.NotRequired, typing.ClassVar):
        return wrong(value, inner[0], at)
    if origin in (typing.Union, types.UnionType):
        each = []
        for one in inner:
            if another_kind(value, one):
                continue
            each.append(wrong(value, one, at))
            if not each[-1]:
                return []
        return nearest(each or [wrong(value, one, at) for one in inner])
    if origin is typing.Literal:
        return [] if value in inner else [f"{at}: {value!r} is none of {inner}"]
    if kind is type(None):
        return [] if value is None else [f"{at}: {short(value)} where null is meant"]
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence) or kind is list:
        if not isinstance(value, list):
            return [f"{at}: {short(value)} is no list"]
        element = inner[0] if inner else typing.Any
        return [line for index, one in enumerate(value) for line in wrong(one, element, f"{at}[{index}]")]
    if origin in (dict, collections.abc.Mapping) or kind is dict:
        if not isinstance(value, dict):
            return [f"{at}: {short(value)} is no object"]
        element = inner[1] if inner else typing.Any
        return [line for name, one in value.items() for line in wrong(one, element, f"{at}.{name}")]
    known = known_fields(kind)
    if known:
        return fields(value, *known, at)
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        known = {str(member.value).lower() for member in kind}
        return [] if str(value).lower() in known else [f"{at}: {value!r} is none of {sorted(known)}"]
    plain = {str: str, bytes: str, int: int, float: (int, float), bool: bool}.get(kind)
    if plain is None:
        # A file of a client, or the like: nothing that JSON holds.
        return [f"{at}: {short(value)} is no {kind}"]
    fits = isinstance(value, plain) and (kind is bool or not isinstance(value, bool))
    return [] if fits else [f"{at}: {short(value)} is no {kind.__name__}"]


def another_kind(value, kind):
    """Whether an object names itself by another `type` or `role` than this one has."""
    known = known_fields(kind) if isinstance(value, dict) and inspect.isclass(kind) else None
    for name in ("type", "role") if known else ():
        words = literals(known[0].get(name))
        if words and value.get(name) not in words and (name in value or name in known[1]):
            return True
    return False


@functools.cache
def literals(kind):
    while typing.get_origin(kind) in (typing.Annotated, typing.Required, typing.NotRequired):
        kind = typing.get_args(kind)[0]
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


@functools.cache
def known_fields(kind):
    """The fields of an object, each with its type, and which of them it must have; none where it is no object."""
    if typing_extensions.is_typeddict(kind):
        hints = typing_extensions.get_type_hints(kind, include_extras=True)
        return hints, {name for name, hint in hints.items() if typing.get_origin(hint) is typing.Required}
    if inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel):
        members = {(field.alias or name): field for name, field in kind.model_fields.items()}
        hints = {name: field.annotation for name, field in members.items()}
        return hints, {name for name, field in members.items() if field.is_required()}
    return None


def fields(value, hints, needed, at):
    if not isinstance(value, dict):
        return [f"{at}: {short(value)} is no object"]
    lines = [f"{at}: {name} is missing" for name in sorted(needed - value.keys())]
    for name, one in value.items():
        if name not in hints:
            lines.append(f"{at}: nobody knows {name}")
        else:
            lines += wrong(one, hints[name], f"{at}.{name}")
    return lines


def nearest(each):
    """Of several readings the one with the least wrong in it, and that deepest within."""
    return min(each, key=lambda lines: (len(lines) > 0, -max((line.split(": ")[0].count(".") for line in lines), default=0), len(lines)))


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 60 else text[:60] + "…"


# The upstreams


def openai_chat(sent):
    sent = {name: value for name, value in sent.items() if name not in UNTYPED["openai_chat"]}
    kind = completion_create_params.CompletionCreateParamsNonStreaming
    if sent.get("stream"):
        kind = completion_create_params.CompletionCreateParamsStreaming
    return wrong(sent, kind, "request")


def anthropic(sent):
    sent = {name: value for name, value in sent.items() if name not in UNTYPED["anthropic"]}
    kind = message_create_params.MessageCreateParamsNonStreaming
    if sent.get("stream"):
        kind = message_create_params.MessageCreateParamsStreaming
    return wrong(sent, kind, "request")


def responses(sent):
    # What the model itself has said is typed with an identity, which nobody needs to send.
    def said(item):
        if item.get("role") != "assistant" or not isinstance(item.get("content"), list):
            return item
        parts = [{**part, "type": "input_text"} if part["type"] == "output_text" else part for part in item["content"]]
        return {**item, "content": parts}

    if isinstance(sent.get("input"), list):
        sent = {**sent, "input": [said(item) for item in sent["input"]]}
    kind = response_create_params.ResponseCreateParamsNonStreaming
    if sent.get("stream"):
        kind = response_create_params.ResponseCreateParamsStreaming
    return wrong(sent, kind, "request")


def gemini(sent):
    hints = {
        "contents": list[google.Content],
        "systemInstruction": google.Content,
        "tools": list[google.Tool],
        "toolConfig": google.ToolConfig,
        "safetySettings": list[google.SafetySetting],
        "generationConfig": google.GenerationConfig,
        "cachedContent": str,
        "labels": dict[str, str],
        "serviceTier": str,
    }
    return fields(sent, hints, {"contents"}, "request")


CONVERSE = botocore.session.get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def converse(sent):
    report = botocore.validate.ParamValidator().validate({"modelId": "model", **sent}, CONVERSE)
    return report.generate_report().splitlines() if report.has_errors() else []


def cohere_chat(sent):
    hints = typing.get_type_hints(cohere.v2.client.V2Client.chat)
    return fields(sent, {**hints, "stream": bool}, {"model", "messages"}, "request")


def cohere_v1(sent):
    hints = typing.get_type_hints(cohere.base_client.BaseCohere.chat)
    return fields(sent, {**hints, "stream": bool}, {"model", "message"}, "request")


def cloudflare(sent):
    # Newer models take OpenAI's requests, without the model, which is in the path. Fields that a client has for somebody
    # else pass, as they do to everybody of the format.
    newer = openai_chat({"model": "in the path", **sent})
    newer = [line for line in newer if not line.startswith("request: nobody knows")]
    # Cloudflare types no request of its older models; its documents name these fields.
    known = "messages prompt raw stream max_tokens temperature top_p top_k seed repetition_penalty frequency_penalty".split()
    known += "presence_penalty response_format guided_json reasoning tools functions lora image".split()
    older = [f"request: nobody knows {name}" for name in sent if name not in known]
    return newer if older else []


UPSTREAMS = {
    "openai_chat": openai_chat,
    "anthropic": anthropic,
    "responses": responses,
    "gemini": gemini,
    "converse": converse,
    "cohere": cohere_chat,
    "cohere_v1": cohere_v1,
    "cloudflare": cloudflare,
}


def main():
    count, refused, bad = 0, collections.Counter(), []
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            told = json.loads(line)
            if "refused" in told:
                refused[told["upstream"] + ": " + told["refused"]] += 1
                continue
            count += 1
            name = f"{told['case']} to {told['upstream']}"
            bad += [f"{name}: {line}" for line in UPSTREAMS[told["upstream"]](told["sent"])[:4]]
            bad += [f"{name}: {line}" for line in losses.lost(told["request"], told["sent"], told["upstream"])[:4]]
    print("\n".join(bad))
    for reason, number in sorted(refused.items()):
        print(f"{number} times {reason}")
    print(f"{count} requests, {sum(refused.values())} refused")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
