"""Heartbeats from a process that no pipeline's code can hold up.

A program of the standard library alone, run by its path: nothing of the service is imported, no
thread of it shares the interpreter. `Pacemaker` starts it, and it ends with its parent, whether
that closed the line or is simply gone.

Standard input is a line of JSON for each order, of which the newest holds: `{}` is only a sign of
life, `{"plan": null}` a rest, and a plan is

    {"plan": {"number", "url", "headers", "body", "interval", "first", "limit", "trust"}}

with times in seconds and `trust` as `verify`, `insecure` or the SHA-256 of the one certificate.
Standard output is a line for each heartbeat: `{"number", "status", "text"}`, or `error` instead of
the last two. A beat that failed is tried again within a second. One that was refused is the last
until there is a new plan: what to do about it is not decided here.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import ssl
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

PATIENCE_SECONDS = 300.0
"""A parent that gives no sign for so long will not serve again: its registration may lapse."""
LOOK_SECONDS = 1.0
"""Between two looks whether the parent still lives, and two tries of a beat that failed."""
MOST_TEXT = 64 * 1024
"""Bytes of an answer that are read."""
LOST = (OSError, http.client.HTTPException, ValueError)


class ParentGone(Exception):
    """The parent wants nothing any more, or is gone."""


class Orders:
    """What the parent said last."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self._parent = os.getppid()
        self._news = threading.Condition()
        self._heard = time.monotonic()
        self._ended = False
        self._plan: dict[str, Any] | None = None
        self._fresh = False
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def wait(self, until: float) -> tuple[dict[str, Any] | None, bool]:
        """The plan, and whether it is new, as soon as it is or the time has come."""
        with self._news:
            while True:
                now = time.monotonic()
                if self._ended or os.getppid() != self._parent:
                    raise ParentGone
                if now - self._heard > PATIENCE_SECONDS:
                    self._plan = None
                if self._fresh or now >= until:
                    fresh, self._fresh = self._fresh, False
                    return self._plan, fresh
                self._news.wait(min(LOOK_SECONDS, until - now))

    def _read(self) -> None:
        for text in self._line:
            order = json.loads(text)
            with self._news:
                self._heard = time.monotonic()
                if "plan" in order:
                    self._plan, self._fresh = order["plan"], True
                    self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()


class Said:
    """The line to the parent, which may not read for a while: the newest is kept for it, since a
    full pipe must not hold up a beat."""

    def __init__(self, target: int) -> None:
        os.set_blocking(target, False)
        self._target = target
        self._begun = b""
        self._newest = b""

    def __call__(self, report: dict[str, Any]) -> None:
        self._newest = json.dumps(report).encode() + b"\n"
        try:
            while self._begun or self._newest:
                if not self._begun:
                    self._begun, self._newest = self._newest, b""
                self._begun = self._begun[os.write(self._target, self._begun) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise ParentGone from error


class Link:
    """The connection to the orchestrator, kept between beats."""

    def __init__(self) -> None:
        self._open: http.client.HTTPConnection | None = None
        self._to: tuple[str, str] | None = None

    def beat(self, plan: dict[str, Any]) -> tuple[int, str]:
        """Raises `LOST`."""
        kept = self._open is not None and self._to == (plan["url"], plan["trust"])
        if kept:
            try:
                return self._send(plan)
            except LOST:
                pass  # it was closed while it was idle: a fresh one shows whether anybody is there
        self.close()
        self._connect(plan)
        try:
            return self._send(plan)
        except LOST:
            self.close()
            raise

    def _connect(self, plan: dict[str, Any]) -> None:
        parts, trust, limit = urlsplit(plan["url"]), plan["trust"], plan["limit"]
        host = parts.hostname or ""
        if parts.scheme == "http":
            link = http.client.HTTPConnection(host, parts.port, timeout=limit)
        else:
            context = ssl.create_default_context()
            if trust != "verify":
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            link = http.client.HTTPSConnection(host, parts.port, timeout=limit, context=context)
        link.auto_open = 0
        link.connect()
        try:
            if isinstance(link.sock, ssl.SSLSocket) and trust not in ("verify", "insecure"):
                seen = link.sock.getpeercert(binary_form=True) or b""
                if hashlib.sha256(seen).hexdigest() != trust:
                    raise OSError("its certificate is another one")
        except BaseException:
            link.close()
            raise
        self._open, self._to = link, (plan["url"], trust)

    def _send(self, plan: dict[str, Any]) -> tuple[int, str]:
        assert self._open is not None
        path = urlsplit(plan["url"]).path
        self._open.request("POST", path, plan["body"].encode(), plan["headers"])
        answer = self._open.getresponse()
        text = answer.read(MOST_TEXT).decode("utf-8", "replace")
        if not answer.isclosed() or answer.will_close:
            self.close()
        return answer.status, text

    def close(self) -> None:
        link, self._open = self._open, None
        if link is not None:
            link.close()


def run(orders: Orders, say: Said) -> None:
    """Beat until the parent is gone."""
    link = Link()
    due = time.monotonic() + PATIENCE_SECONDS
    while True:
        plan, fresh = orders.wait(due)
        now = time.monotonic()
        if plan is None:
            link.close()
            due = now + PATIENCE_SECONDS
            continue
        if fresh and plan["first"] > 0:
            due = now + plan["first"]
            plan["first"] = 0
            continue
        try:
            status, text = link.beat(plan)
        except LOST as error:
            due = time.monotonic() + LOOK_SECONDS
            say({"number": plan["number"], "error": f"{type(error).__name__}: {error}"[:300]})
            continue
        refused = 400 <= status < 500 and status not in (408, 425, 429)
        soon = now + (plan["interval"] if status == 200 else LOOK_SECONDS)
        due = now + PATIENCE_SECONDS if refused else soon
        say({"number": plan["number"], "status": status, "text": text})


def main() -> None:
    # A terminal's Ctrl-C goes to the whole group, and a drain outlives it: the line says when.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    try:
        run(Orders(sys.stdin.buffer), Said(sys.stdout.fileno()))
    except ParentGone:
        os._exit(0)  # a thread that still reads would hold the interpreter up


if __name__ == "__main__":
    main()
