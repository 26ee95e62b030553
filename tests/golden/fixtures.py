"""Recorded exchanges with providers: folders with `meta.yaml`, `request.json` and `response.{json,sse,bin}`."""

import json
from pathlib import Path

FOLDERS = {
    "messages": "anthropic",
    "generateContent": "gemini",
    "converse": "converse",
    "responses": "responses",
    "chat": "openai_chat",
}


class Fixture:
    """One recorded exchange."""

    def __init__(self, folder):
        self.folder = folder
        self.meta = read_meta(folder / "meta.yaml")
        self.provider = self.meta["provider"]
        self.operation = self.meta["operation"]
        self.status = int(self.meta["status"])
        self.kinds = tuple(sorted(self.meta.get("kinds", [])))
        found = [path for path in folder.iterdir() if path.name.startswith("response.")]
        self.answer = found[0]
        request = folder / "request.json"
        self.request = json.loads(request.read_text()) if request.exists() else None
        self.name = f"{self.provider}-{folder.name}"
        self.content_type = self.meta.get("content_type", "")
        self.path = self.meta.get("path", "")
        self.model = self.meta.get("model") or "model"

    @property
    def stream(self):
        """Whether the answer is a stream of frames."""
        streamed = "event-stream" in self.content_type or "eventstream" in self.content_type
        return streamed or ("streamGenerateContent" in self.path and self.status < 400)

    @property
    def upstream(self):
        """The dialect that the provider spoke; none where an OpenAI chat client cannot meet it."""
        if self.operation == "invoke":
            return "anthropic" if "anthropic_version" in (self.request or {}) else None
        if self.path.startswith("/api/chat"):
            return None  # Ollama's own dialect.
        if self.provider in ("cohere", "cloudflare") and self.operation == "chat":
            return self.provider
        return FOLDERS.get(self.operation)

    @property
    def envelope(self):
        """What the dialect is wrapped in."""
        if self.operation == "invoke" and self.answer.suffix == ".bin":
            return "invoke"
        return None

    @property
    def framing(self):
        """How the stream is cut into frames."""
        if not self.stream:
            return None
        if "eventstream" in self.content_type:
            return "event_stream"
        return "json_array" if self.answer.suffix == ".json" else "sse"

    def size(self):
        return sum(path.stat().st_size for path in self.folder.iterdir())


def read_meta(path):
    """Reads the small part of YAML that these files use."""
    found, last = {}, None
    for line in path.read_text().splitlines():
        if line.startswith("- "):
            found[last].append(line[2:])
        elif ":" in line and not line.startswith(" "):
            last, value = line.split(":", 1)
            found[last] = value.strip() or []
    return found


def every(root, provider=None):
    """The exchanges below a folder, in order."""
    for meta in sorted(Path(root).glob(f"{provider or '*'}/*/meta.yaml")):
        yield Fixture(meta.parent)
