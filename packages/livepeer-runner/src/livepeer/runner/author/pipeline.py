"""`Pipeline`: the class that an author writes. It says what a pipeline is, and nothing about where
it runs."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path
from typing import Any, ClassVar

from livepeer.runner.author.definition import check, check_class_hook, is_count, is_number
from livepeer.runner.job import JobFilter, current_job

_ID = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_VERSION = re.compile(r"[!-~]+")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def kebab_case(name: str) -> str:
    """`TextToImage` -> `text-to-image`, `HTTPEcho` -> `http-echo`."""
    return "-".join(word.lower() for word in _WORD.findall(name))


def is_pipeline_id(name: str) -> bool:
    """Whether a name may be a `pipeline_id`: it becomes the name of an image too."""
    return _ID.fullmatch(name) is not None


class _ModelDir:
    """A directory of the class and of its instances alike: `prepare_models` has only the class."""

    def __get__(self, instance: object, owner: type[PipelineBase]) -> Path:
        from livepeer.runner.settings import Settings

        return Settings.from_env().model_dir


class PipelineBase:
    """What batch and live pipelines share: metadata, the hooks of the process, progress and log.

    Metadata, all optional: `pipeline_id` (default: the class name in kebab-case), `version`,
    `description` (default: the docstring), `capacity` (jobs or streams at once), `queue_timeout`
    (seconds that a call may wait for one of those places; 0 refuses it at once), `queue_size` (how
    many may wait), `thread_safe` (sync code may run in several threads at once), `gpu`,
    `min_vram_gb`.
    """

    pipeline_id: ClassVar[str] = ""
    version: ClassVar[str] = "0.0.0"
    description: ClassVar[str] = ""
    capacity: ClassVar[int] = 1
    queue_timeout: ClassVar[float] = 5.0
    queue_size: ClassVar[int] = 64
    thread_safe: ClassVar[bool] = False
    gpu: ClassVar[bool] = False
    min_vram_gb: ClassVar[float] = 0

    model_dir = _ModelDir()
    """Where weights live: `LIVEPEER_MODEL_DIR`, else `/models` in an image, else the user's
    cache."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "pipeline_id" not in cls.__dict__:
            cls.pipeline_id = kebab_case(cls.__name__)
        if "description" not in cls.__dict__ and cls.__dict__.get("__doc__"):
            cls.description = inspect.cleandoc(cls.__dict__["__doc__"])
        check_class_hook(cls, "prepare_models")
        cls._check_metadata()

    @classmethod
    def _check_metadata(cls) -> None:
        check(
            cls,
            "pipeline_id",
            is_pipeline_id(str(cls.pipeline_id)),
            "small letters, digits and single dashes, such as 'text-to-image'",
        )
        check(
            cls,
            "version",
            _VERSION.fullmatch(str(cls.version)) is not None,
            "a text such as '1.0.0'",
        )
        check(cls, "capacity", is_count(cls.capacity), "a whole number, 1 or more")
        wait = is_number(cls.queue_timeout, zero=True)
        check(cls, "queue_timeout", wait, "seconds, 0 or more")
        check(cls, "queue_size", is_count(cls.queue_size, zero=True), "a whole number, 0 or more")
        check(cls, "min_vram_gb", is_number(cls.min_vram_gb, zero=True), "GB, 0 or more")

    @classmethod
    def prepare_models(cls) -> None:
        """Fetch weights into `model_dir`. Runs while the image is built, never while serving."""

    # `Any`, so that an author may write `def setup(self) -> None` and `async def` alike.
    def setup(self) -> Any:
        """Load what the work needs, off the event loop, while `/health` says LOADING."""

    def teardown(self) -> Any:
        """Release it, at a graceful stop, after the last job."""

    @property
    def log(self) -> logging.Logger:
        """A logger whose records carry the id of the running job."""
        logger = logging.getLogger(f"livepeer.pipeline.{self.pipeline_id}")
        if not logger.filters:
            logger.addFilter(JobFilter())
        return logger

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how far the running job is, 0 to 1. A stream's caller gets it as an event."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is {fraction}: write a fraction from 0 to 1")
        job = current_job.get()
        if job is not None and job.on_progress is not None:
            job.on_progress(fraction, message)
        self.log.debug("progress %.0f %% %s", fraction * 100, message)


class Pipeline(PipelineBase):
    """A request/response capability: write `predict`, whose signature is the schema.

    `predict(self, ...)` is sync (a worker thread, one call at a time unless `thread_safe`) or
    async, takes bare parameters or one pydantic model, and returns or yields its result; a
    generator streams server-sent events. There is none here, so that every signature type-checks.

    `timeout`: seconds for one job, waiting for its thread included (for a slot: `queue_timeout`);
    then its caller gets 504. None
    sets no limit. `max_batch_size` and `max_batch_wait_ms` are for
    `predict_batch(self, inputs: list[In]) -> list[Out]`, which gathers the calls of several callers
    into one; an element that is an exception is the error of that caller alone. A class that has it
    is served by it.
    """

    description: ClassVar[str] = ""  # this docstring describes no author's class
    timeout: ClassVar[float | None] = 300.0
    max_batch_size: ClassVar[int] = 8
    max_batch_wait_ms: ClassVar[float] = 10.0

    @classmethod
    def _check_metadata(cls) -> None:
        super()._check_metadata()
        timeout = cls.timeout
        check(
            cls,
            "timeout",
            timeout is None or is_number(timeout),
            "seconds above 0, or None for none",
        )
        check(cls, "max_batch_size", is_count(cls.max_batch_size), "a whole number, 1 or more")
        check(
            cls,
            "max_batch_wait_ms",
            is_number(cls.max_batch_wait_ms, zero=True),
            "milliseconds, 0 or more",
        )
