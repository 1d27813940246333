"""The job that the running code works for: its id for logs, its way to report progress.

Kept in a context variable, which follows the work into its task or thread, so that `self.log` and
`self.progress` need nothing passed to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar

ProgressSink = Callable[[float, str], None]


class Job:
    """One call of a pipeline. `id` is the request's id: the caller's, or one made here."""

    __slots__ = ("id", "on_progress")

    def __init__(
        self,
        id: str,
        *,
        on_progress: ProgressSink | None = None,
    ) -> None:
        self.id = id
        self.on_progress = on_progress


current_job: ContextVar[Job | None] = ContextVar("livepeer_job", default=None)


class JobFilter(logging.Filter):
    """Puts the id of the running job on every record of a logger, as `record.job_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        job = current_job.get()
        record.job_id = job.id if job is not None else getattr(record, "job_id", "")
        return True
