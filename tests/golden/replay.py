"""A server that answers every request with one recorded answer."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Replay:
    """Answers with what it was last given by `play`."""

    def __init__(self):
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # Head and body in one packet: the second would wait for an acknowledgement.

            def answer(self):
                if self.headers.get("transfer-encoding") == "chunked":
                    while (size := int(self.rfile.readline().split(b";")[0], 16)) > 0:
                        self.rfile.read(size + 2)
                    self.rfile.readline()
                self.rfile.read(int(self.headers.get("content-length") or 0))
                status, content_type, body = replay.script
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        self.script = (500, "text/plain", b"")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def play(self, status, content_type, body):
        self.script = (status, content_type, body)
