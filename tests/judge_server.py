"""A server that speaks as much of OpenAI's protocol as judges need."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Replies as the server's `say` tells, and keeps what it is asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers.get("Authorization")))
        status, document = self.server.say(body)
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        # Who asked may have gone away.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextmanager
def server(say) -> Iterator[ThreadingHTTPServer]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.say, running.asked, running.daemon_threads = say, [], True
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.shutdown()
        running.server_close()


def content(text: object) -> tuple[int, object]:
    return 200, {"choices": [{"message": {"content": text}}]}


def address(running: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{running.server_address[1]}/v1"
