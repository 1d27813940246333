"""What belongs to one stream and to no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from livepeer.runner.author.live_pipeline import LivePipeline, StreamHandle, copy_for
from livepeer.runner.live.calls import HookCaller
from livepeer.runner.live.channels import Channels
from livepeer.runner.live.failures import ErrorBudget
from livepeer.runner.live.outbox import Outbox
from livepeer.runner.live.request import StartRequest
from livepeer.runner.live.status import StreamStatus

if TYPE_CHECKING:
    from livepeer.runner.live.work import LiveWork


class FlowProtocol(Protocol):
    """What a session needs of `Flow` and `RelayFlow`."""

    @property
    def bytes_in(self) -> int: ...
    @property
    def segments_in(self) -> int: ...
    def stop(self) -> None: ...
    def refresh(self) -> None: ...
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stream:
    """Its copy of the pipeline, and who calls its hooks, counts its errors, opens its channels."""

    request: StartRequest
    copy: LivePipeline
    status: StreamStatus
    caller: HookCaller
    budget: ErrorBudget
    channels: Channels
    events: Outbox
    data: Outbox

    @classmethod
    def of(cls, work: LiveWork, request: StartRequest, params: Any) -> Stream:
        pipeline = work.cls
        status = StreamStatus(pipeline.pipeline_id, request.stream_id)
        channels = Channels(request, work.tls, linger=work.linger)
        events, data = channels.events(), channels.data()
        handle = StreamHandle(request.stream_id, post_event=events.post, post_data=data.post)
        return cls(
            request,
            copy_for(work.pipeline, handle, params),
            status,
            HookCaller(work.service.threads, pipeline.hook_timeout, status.running),
            ErrorBudget(pipeline.max_errors, status, events.put),
            channels,
            events,
            data,
        )

    @property
    def emitted(self) -> bool:
        """Whether the pipeline has emitted records, or events of its own."""
        return self.data.posted > 0 or self.events.posted > 0
