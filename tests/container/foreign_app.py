"""A container of somebody else's, of the standard library alone. `FAULTS` names what is wrong."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULTS = os.environ.get("FAULTS", "").split()
SCHEMA = {
    "protocol": "v1",
    "id": "foreign",
    "version": "1",
    "type": "batch",
    "input": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75

    def do_GET(self) -> None:
        known = {"/health": {"status": "OK", "capacity": 4}, "/ready": {}, "/schema": SCHEMA}
        self.answer(200 if self.path in known else 404, known.get(self.path, {}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/schema":
            return self.answer(200, SCHEMA)
        if self.path != "/predict":
            return self.answer(404, {})
        try:
            job = json.loads(body)
            fits = list(job) == ["text"] and isinstance(job["text"], str)
        except (ValueError, TypeError):
            fits = False
        self.answer(200 if fits else 422, {"result": job["text"][::-1]} if fits else {})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def reap(number: int, frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def main() -> None:
    if "writes" in FAULTS:
        Path("/var/written").write_text("at its start")
    if "network" in FAULTS and "eth0" not in Path("/proc/net/dev").read_text():
        sys.exit("it wants to call home")
    if "zombies" not in FAULTS:
        signal.signal(signal.SIGCHLD, reap)
    server = ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
    code = 7 if "status" in FAULTS else 0
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ended.wait()
    sys.exit(code)


if __name__ == "__main__":
    main()
