"""From a pipeline class to its service: which kind of work it is, batch or live.

Apart from `app`, so that what serves without HTTP need not import FastAPI.
"""

from __future__ import annotations

from livepeer.runner.author.pipeline import Pipeline, PipelineBase
from livepeer.runner.running.service import Service
from livepeer.runner.settings import Settings


def make_service(
    cls: type[PipelineBase], settings: Settings, *, linger: float | None = None
) -> Service:
    """The service of a class. `linger`: seconds that a live stream's channels stay behind its end.

    Raises `TypeError` for a class of neither kind, `SignatureError` for one that cannot be served
    as it is written.
    """
    if not issubclass(cls, PipelineBase):
        raise TypeError(f"{cls.__name__} is no Pipeline: write `class {cls.__name__}(Pipeline)`")
    if issubclass(cls, Pipeline):
        from livepeer.runner.batch.work import BatchWork

        batch = cls
        return Service(cls, settings, lambda service: BatchWork(service, batch))
    from livepeer.runner.author.live_pipeline import LivePipeline

    if issubclass(cls, LivePipeline):
        from livepeer.runner.live.work import LINGER_SECONDS, LiveWork

        live, seconds = cls, LINGER_SECONDS if linger is None else linger
        return Service(cls, settings, lambda service: LiveWork(service, live, linger=seconds))
    raise TypeError(
        f"{cls.__name__} is of no kind that can be served: derive it from Pipeline or LivePipeline"
    )
