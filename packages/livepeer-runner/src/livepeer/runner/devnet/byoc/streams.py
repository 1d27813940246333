"""Live streams: start, update, stop, payment, and the trickle channels in between."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.accounts import JobAccount, JobAccounts
from livepeer.runner.devnet.byoc.capabilities import Capabilities
from livepeer.runner.devnet.byoc.envelope import AdmittedJob, JobRefused, UnpaidJob, admit
from livepeer.runner.devnet.go_http import error, guessed, read_body, reply
from livepeer.runner.devnet.upstream import (
    AnswerBrokeOff,
    UpstreamAnswer,
    UpstreamClient,
    UpstreamUnreachable,
)
from livepeer.runner.devnet.urls import BadURL, join_path, parse_url
from livepeer.trickle.server import LimitExceeded, TrickleServer

logger = logging.getLogger(__name__)

TRICKLE_PATH = "/ai/trickle"
"""Where the channels are, below the orchestrator's URL."""
_PARAMETERS = {
    "enable_video_ingress": "bool",
    "enable_video_egress": "bool",
    "enable_data_output": "bool",
}
LOOK_SECONDS = 23
"""The reference looks at a running stream this often: at its capability, and at what it costs."""


@dataclass(frozen=True)
class _ChannelKind:
    """One channel: what it adds to the id, who is told of it how, and when there is one."""

    suffix: str
    mime_type: str
    key: str  # in the container's /stream/start
    header: str  # in the caller's answer
    enabled_by: str = ""


_CHANNELS = (
    _ChannelKind("-control", "application/json", "control_url", "X-Control-Url"),
    _ChannelKind("-events", "application/json", "events_url", "X-Events-Url"),
    _ChannelKind("", "video/MP2T", "subscribe_url", "X-Publish-Url", "enable_video_ingress"),
    _ChannelKind("-out", "video/MP2T", "publish_url", "X-Subscribe-Url", "enable_video_egress"),
    _ChannelKind("-data", "application/jsonl", "data_url", "X-Data-Url", "enable_data_output"),
)


@dataclass
class _RunningStream:
    id: str
    account: JobAccount
    channels: list[str]
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ByocStreams:
    """The streams of one orchestrator.

    It watches nothing but the balance: a stream that is not stopped keeps its place, and its
    channels go one by one when they are idle. A failed start leaves nothing behind, but the
    container is not told.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        accounts: JobAccounts,
        containers: UpstreamClient,
        trickle: TrickleServer,
        origin: str,
    ) -> None:
        self._capabilities = capabilities
        self._accounts = accounts
        self._containers = containers
        self._trickle = trickle
        self._origin = origin
        self._running: dict[str, _RunningStream] = {}
        self._watching: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Opens the channels, asks the container, and answers with the URLs, on failure too.

        The method is not looked at. A second start of a running id reaches the container, fails,
        and closes the channels of the first.
        """
        try:
            job = await admit(request.headers, self._capabilities, self._accounts, reserve=True)
        except UnpaidJob as refusal:
            return error(402, str(refusal))
        except JobRefused as refusal:
            return error(400, str(refusal))
        body = await read_body(request)
        try:
            enabled = go_json.decode(go_json.parse(job.parameters), _PARAMETERS, "JobParameters")
        except go_json.GoJSONError as bad:
            return error(400, str(bad))
        wanted = [one for one in _CHANNELS if not one.enabled_by or enabled.get(one.enabled_by)]
        base = self._origin + join_path(TRICKLE_PATH, job.id)
        headers = {one.header: base + one.suffix for one in wanted}
        names = [job.id + one.suffix for one in wanted]
        stream = None
        try:
            try:
                for name, one in zip(names, wanted, strict=True):
                    if name:  # an input channel without a name is out of everybody's reach
                        self._trickle.create(name, one.mime_type)
            except (LimitExceeded, ValueError) as refusal:
                return error(500, f"no channel for stream {job.id}: {refusal}", headers)
            urls = {one.key: base + one.suffix for one in wanted}
            response = await self._ask_to_start(request, job, body, urls, headers)
            if response.status == 200:
                stream = self._running[job.id] = _RunningStream(job.id, job.account, names)
                logger.info("stream %r of %s started", job.id, job.capability)
                self._watch(stream)
            return response
        finally:
            if stream is None:
                self._capabilities.free(job.capability)
                await self._close(names)

    async def _ask_to_start(
        self,
        request: web.Request,
        job: AdmittedJob,
        body: bytes,
        urls: dict[str, str],
        headers: dict[str, str],
    ) -> web.Response:
        try:
            # The caller's keys win over ours: that is how the reference does it.
            given = go_json.decode_object(go_json.parse(body))
        except go_json.GoJSONError:
            return error(400, "Invalid JSON body", headers)
        document = {"gateway_request_id": job.id, **urls, **given}
        begun = self._accounts.now()
        try:
            answer = await self._call(
                job,
                "/stream/start",
                job.id,
                go_json.dumps(dict(sorted(document.items()))),
                request.headers.get("Content-Type", ""),
            )
        except BadURL:
            return error(500, "Failed to create worker request", headers)
        except UpstreamUnreachable as failure:
            logger.warning("stream %r did not start: %s", job.id, failure)
            return error(500, "Error sending request to worker", headers)
        status, text = await self._result(job, answer)
        job.account.charge_since(begun)
        headers |= job.account.headers
        if status > 399:
            return guessed(status, text, headers)
        if job.id in self._running:
            return error(500, "Error adding stream to external capabilities", headers)
        return reply(200, headers=headers)

    async def update(self, request: web.Request) -> web.StreamResponse:
        """Passes new parameters on, whether there is such a stream or not."""
        try:
            job = await admit(request.headers, self._capabilities, self._accounts, reserve=False)
        except JobRefused as refusal:
            return error(400, f"Failed to stop stream, request not valid err={refusal}")
        body = await read_body(request)
        try:
            answer = await self._call(
                job, "/stream/params", job.stream_id, body, "application/json"
            )
        except BadURL as bad:
            return error(400, str(bad))
        except UpstreamUnreachable:
            return error(500, "Error sending request to worker")
        return guessed(*await self._result(job, answer))

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """Asks the container first, then ends the channels, whatever it said or did not say."""
        try:
            job = await admit(request.headers, self._capabilities, self._accounts, reserve=False)
        except JobRefused as refusal:
            return error(400, f"Failed to stop stream, request not valid err={refusal}")
        body = await read_body(request)
        try:
            answer = await self._call(job, "/stream/stop", job.stream_id, body)
            response = guessed(*await self._result(job, answer))
        except BadURL as bad:
            return error(400, str(bad))
        except UpstreamUnreachable as failure:
            logger.warning("stream %r: the container was not told: %s", job.stream_id, failure)
            response = reply(200)
        finally:
            await self._remove(job.stream_id)
        return response

    async def payment(self, request: web.Request) -> web.StreamResponse:
        """Takes what comes with it, as every call does. Offchain it is not even looked at."""
        try:
            job = await admit(request.headers, self._capabilities, self._accounts, reserve=False)
        except JobRefused as refusal:
            return error(400, f"Failed to process payment, request not valid err={refusal}")
        return reply(200, headers=job.account.headers)

    async def _call(
        self,
        job: AdmittedJob,
        route: str,
        stream_id: str,
        body: bytes,
        content_type: str | None = None,
    ) -> UpstreamAnswer:
        url = parse_url(job.url + route)
        headers = {}
        if stream_id:
            headers["X-Stream-Id"] = stream_id
        if token := self._capabilities.token(job.capability):
            headers["Authorization"] = f"Bearer {token}"
        if content_type is not None:
            headers["Content-Type"] = content_type
        return await self._containers.post(url, body, headers, job.timeout)

    async def _result(self, job: AdmittedJob, answer: UpstreamAnswer) -> tuple[int, bytes]:
        try:
            body = await answer.read()
        except AnswerBrokeOff:
            return 500, b"Error reading response body"
        finally:
            answer.close()
        if answer.status == 401:
            logger.warning("capability %s is gone: the container answered 401", job.capability)
            self._capabilities.remove(job.capability)
            return 500, b"Orchestrator worker failure"
        return answer.status, body

    async def _remove(self, stream_id: str) -> None:
        stream = self._running.pop(stream_id, None)
        if stream is not None:
            logger.info("stream %r ended", stream_id)
            stream.ended.set()
            await self._close(stream.channels)

    async def _close(self, names: list[str]) -> None:
        for name in names:  # all of them, before anything is waited for
            if (channel := self._trickle.get(name)) is not None:
                channel.close()
        await asyncio.sleep(0)  # their readers know

    def _watch(self, stream: _RunningStream) -> None:
        task = asyncio.create_task(self._monitor(stream), name="devnet-stream")
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _monitor(self, stream: _RunningStream) -> None:
        """Takes the price at every look, and ends a stream that cannot pay at two of them: then
        the container is not told, and its place is lost. Gives the place back at any other end,
        unless the capability was gone at one of the looks."""
        account, warned = stream.account, False
        while not await self._ended_before_the_look(stream):
            if self._capabilities.get(account.capability) is None:
                return
            account.debit(LOOK_SECONDS)
            if account.balance >= 0:
                continue
            if warned:
                logger.warning("stream %r is not paid any longer, and ended", stream.id)
                self._running.pop(stream.id, None)
                await self._close(stream.channels)
                return
            logger.warning("stream %r is not paid: the next look will end it", stream.id)
            warned = True
        self._capabilities.free(account.capability)

    async def _ended_before_the_look(self, stream: _RunningStream) -> bool:
        async def looking() -> None:
            await self._accounts.sleep(LOOK_SECONDS)

        tasks = {asyncio.create_task(looking()), asyncio.create_task(stream.ended.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return stream.ended.is_set()
