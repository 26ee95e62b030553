"""A load test: users who chat with a stream, again and again. `make load` runs it.

By hand: locust -f deploy/load/locustfile.py --host http://127.0.0.1:8000 --headless -u 100 -r 10 -t 120s
API is the client key, MODEL the model that is asked for.
"""

import os
import time

from locust import HttpUser, between, task

KEY = os.environ.get("API", "sk-load")
MODEL = os.environ.get("MODEL", "gpt-4o")
BODY = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


class Chat(HttpUser):
    """One user: asks, reads the stream to its end, thinks a second or two."""

    wait_time = between(1, 2)

    @task
    def stream(self):
        """A request counts as long as it takes to its last event; without that event it has failed."""
        began = time.perf_counter()
        with self.client.post("/v1/chat/completions", json=BODY, headers={"Authorization": f"Bearer {KEY}"},
                              name="/v1/chat/completions (stream)", stream=True, catch_response=True) as answer:
            lines = [line for line in answer.iter_lines() if line]
            answer.request_meta["response_time"] = (time.perf_counter() - began) * 1000
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif not lines or lines[-1] != b"data: [DONE]":
                answer.failure("the stream has no end")
