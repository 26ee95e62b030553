"""Runs the cells of the matrix with one Python client against a gateway.

usage: matrix.py CLIENT PLAN.json

The plan holds `base_url`, `key`, what all cells share (`picture`, `system`) and `cells`. For each cell one line of
JSON is printed with what the client found; the plan's writer judges it. A further client is a class here.
"""

import asyncio
import json
import sys


def weather(city, unit=None):
    return {"Paris": "21", "Oslo": "4"}[city]


def add(numbers):
    return f"{sum(numbers):g}"


def now():
    return "12:00"


RUN = {"weather": weather, "add": add, "now": now}


class OpenAi:
    """OpenAI's own SDK. A whole message goes back as it came, a streamed one as most programs put it together."""

    def __init__(self, plan):
        import openai
        import pydantic

        class Weather(pydantic.BaseModel):
            city: str
            degrees: int

        self.form_class = Weather
        self.failure = openai.APIError
        self.plan = plan
        self.client = openai.OpenAI(base_url=plan["base_url"], api_key=plan["key"], max_retries=0, timeout=30)

    @staticmethod
    def tools(cell):
        return [{"type": "function", "function": tool} for tool in cell["tools"]]

    def arguments(self, cell, messages):
        more = {"model": cell["model"], "messages": messages}
        if cell.get("tools"):
            more["tools"] = self.tools(cell)
        if cell.get("effort"):
            more["reasoning_effort"] = cell["effort"]
        return more

    def start(self, cell):
        words = cell["prompt"]
        if cell.get("image"):
            picture = {"url": f"data:image/png;base64,{self.plan['picture']}"}
            words = [{"type": "text", "text": words}, {"type": "image_url", "image_url": picture}]
        return [{"role": "system", "content": self.plan["system"]}, {"role": "user", "content": words}]

    def once(self, cell, messages, found):
        """One answer: the message to go on with, and its calls as (id, name, arguments)."""
        if cell["stream"]:
            return self.streamed(cell, messages, found)
        answer = self.client.chat.completions.create(**self.arguments(cell, messages))
        choice, message = answer.choices[0], answer.choices[0].message
        found["text"] = message.content or ""
        found["reasoning"] = getattr(message, "reasoning_content", None) or ""
        found["finish"] = choice.finish_reason
        self.usage(answer.usage, found)
        calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
        return message, calls

    def streamed(self, cell, messages, found):
        found.update({"text": "", "reasoning": "", "finish": None})
        calls = {}
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for chunk in self.client.chat.completions.create(**self.arguments(cell, messages), **options):
            if chunk.usage:
                self.usage(chunk.usage, found)
            for choice in chunk.choices:
                found["text"] += choice.delta.content or ""
                found["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
                found["finish"] = choice.finish_reason or found["finish"]
                for part in choice.delta.tool_calls or []:
                    call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                    call["id"] = call["id"] or part.id or ""
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
        message = {"role": "assistant", "content": found["text"] or None}
        if calls:
            message["tool_calls"] = [
                {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
                for call in calls.values()
            ]
        return message, [(call["id"], call["name"], json.loads(call["arguments"])) for call in calls.values()]

    @staticmethod
    def usage(usage, found):
        details = usage.completion_tokens_details
        found["input"], found["output"] = usage.prompt_tokens, usage.completion_tokens
        found["thinking"] = (details and details.reasoning_tokens) or 0

    @staticmethod
    def result(call, text):
        return {"role": "tool", "tool_call_id": call, "content": text}

    @staticmethod
    def user(text):
        return {"role": "user", "content": text}

    def form(self, cell):
        arguments = {**self.arguments(cell, self.start(cell)), "response_format": self.form_class}
        if cell["stream"]:
            with self.client.chat.completions.stream(**arguments) as stream:
                answer = stream.get_final_completion()
        else:
            answer = self.client.chat.completions.parse(**arguments)
        return answer.choices[0].message.parsed.model_dump()

    @staticmethod
    def told(failure):
        body = failure.body if isinstance(failure.body, dict) else {}
        return body.get("message", str(failure))


class LangChain(OpenAi):
    """LangChain's ChatOpenAI. It reads and keeps what OpenAI documents, and no thoughts."""

    def __init__(self, plan):
        super().__init__(plan)
        from langchain_openai import ChatOpenAI

        self.base = ChatOpenAI(
            model="of-the-cell",
            base_url=plan["base_url"],
            api_key=plan["key"],
            max_retries=0,
            timeout=30,
            stream_usage=True,
            use_responses_api=False,
        )

    def model(self, cell):
        """Making one anew for each cell would cost more than all else."""
        return self.base.model_copy(update={"model_name": cell["model"], "reasoning_effort": cell.get("effort")})

    def once(self, cell, messages, found):
        model = self.model(cell)
        if cell.get("tools"):
            model = model.bind_tools(self.tools(cell))
        if cell["stream"]:
            message = None
            for chunk in model.stream(messages):
                message = chunk if message is None else message + chunk
                found["text"] = message.text
        else:
            message = model.invoke(messages)
        usage = message.usage_metadata
        found.update(
            {
                "text": message.text,
                "reasoning": message.additional_kwargs.get("reasoning_content", ""),
                "finish": message.response_metadata["finish_reason"],
                "input": usage["input_tokens"],
                "output": usage["output_tokens"],
                "thinking": usage.get("output_token_details", {}).get("reasoning", 0),
            }
        )
        return message, [(call["id"], call["name"], call["args"]) for call in message.tool_calls]

    def form(self, cell):
        model = self.model(cell).with_structured_output(self.form_class, method="json_schema")
        if cell["stream"]:
            return list(model.stream(self.start(cell)))[-1].model_dump()
        return model.invoke(self.start(cell)).model_dump()


CLIENTS = {"openai": OpenAi, "langchain": LangChain}


def say(client, cell, found):
    _, calls = client.once(cell, client.start(cell), found)
    found["tools"] = [[name, arguments] for _, name, arguments in calls]


def loop(client, cell, found):
    """Answers calls until there are none, and then goes on talking."""
    messages, found["steps"] = client.start(cell), []
    for _ in range(6):
        message, calls = client.once(cell, messages, found)
        messages.append(message)
        if not calls:
            break
        found["steps"].append([[name, arguments] for _, name, arguments in calls])
        messages.extend(client.result(call, RUN[name](**arguments)) for call, name, arguments in calls)
    last = found["text"]
    client.once(cell, [*messages, client.user(cell["then"])], found)
    found["after"], found["text"] = found["text"], last


def form(client, cell, found):
    found["value"] = client.form(cell)


KINDS = {"say": say, "loop": loop, "form": form}


def main():
    name, path = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    client = CLIENTS[name](plan)

    def run(cell):
        found = {}
        try:
            KINDS[cell["do"]](client, cell, found)
        except client.failure as failure:
            found["error"] = {
                "class": type(failure).__name__,
                "status": getattr(failure, "status_code", None),
                "message": client.told(failure),
            }
        except Exception as failure:  # A fault of the client, or what it makes of a fault of ours.
            found["error"] = {"class": type(failure).__name__, "status": None, "message": repr(failure)}
        return {"id": cell["id"], "found": found}

    async def all_cells():
        some = asyncio.Semaphore(4)

        async def one(cell):
            async with some:
                print(json.dumps(await asyncio.to_thread(run, cell)), flush=True)

        await asyncio.gather(*(one(cell) for cell in plan["cells"]))

    asyncio.run(all_cells())


main()
