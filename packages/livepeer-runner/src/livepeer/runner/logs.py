"""Logs of a served pipeline: plain lines for people or one JSON object a line for machines.

Every record has the id of the job that it belongs to (`job_id`), also records of other libraries
made inside a job. No line holds a secret that this process knows of, and what strangers named
(streams, jobs, paths) is escaped and cut in the SDK's own lines, so that no one forges others.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType
from typing import IO, Literal

from livepeer.runner import redaction
from livepeer.runner.job import JobFilter
from livepeer.trickle.text import printable

MOST_SHOWN = 500
"""Characters of one text within a line of the SDK's own."""
_AUTHORS = "livepeer.pipeline."
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "job_id", "taskName"}


def authors(
    error: BaseException,
) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """`exc_info` of what an author's code raised, without how the runner came to call it."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return type(error), error, trace or error.__traceback__


def _is_ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).startswith("livepeer.runner.")


def shown(text: str) -> str:
    """A stranger's text as part of a line: without control characters, and not for ever."""
    return printable(text, MOST_SHOWN)


def message(record: logging.LogRecord) -> str:
    """The record's message; texts put into one of the SDK's own are `shown`."""
    own = record.name.startswith("livepeer.") and not record.name.startswith(_AUTHORS)
    if own and isinstance(record.args, tuple) and record.args:
        args = tuple(shown(arg) if isinstance(arg, str) else arg for arg in record.args)
        return str(record.msg) % args
    return record.getMessage()


class PlainFormatter(logging.Formatter):
    """`12:00:01 INFO  livepeer.runner [job] message`, in UTC."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s%(job)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        job_id = getattr(record, "job_id", "")
        record.job = f" [{shown(job_id)}]" if job_id else ""
        copy = logging.makeLogRecord(record.__dict__)
        copy.msg, copy.args = message(record), None
        return redaction.everywhere(super().format(copy))


class JSONFormatter(logging.Formatter):
    """One JSON object: `time` (RFC 3339, UTC), `level`, `logger`, `message`, `job_id`, extras."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        moment = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        content: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message(record),
        }
        if job_id := getattr(record, "job_id", ""):
            content["job_id"] = job_id
        for name, value in record.__dict__.items():
            if name not in _OWN and not name.startswith("_"):
                content.setdefault(name, value)
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return redaction.everywhere(json.dumps(content, default=str, ensure_ascii=False))


def configure(
    format: Literal["plain", "json"] = "plain",
    level: str = "info",
    stream: IO[str] | None = None,
) -> None:
    """Send the logs of the whole process to `stream` (default: stderr). For `serve` and the CLI."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if format == "json" else PlainFormatter())
    handler.addFilter(JobFilter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
