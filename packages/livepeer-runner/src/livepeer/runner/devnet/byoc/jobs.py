"""Batch jobs: `/process/request/...` and the token that comes before."""

from __future__ import annotations

import logging
from urllib.parse import unquote

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc import sse
from livepeer.runner.devnet.byoc.accounts import JobAccounts, NoPrice
from livepeer.runner.devnet.byoc.capabilities import Capabilities
from livepeer.runner.devnet.byoc.envelope import (
    AdmittedJob,
    JobRefused,
    NoCapacity,
    admit,
    token_sender,
)
from livepeer.runner.devnet.go_http import error, read_body, reply
from livepeer.runner.devnet.upstream import (
    AnswerBrokeOff,
    UpstreamAnswer,
    UpstreamClient,
    UpstreamUnreachable,
)
from livepeer.runner.devnet.urls import BadURL, parse_url

logger = logging.getLogger(__name__)

PREFIX = "/process/request/"


class Jobs:
    """Forwards jobs, with the reference's places that leak (see `run`)."""

    def __init__(
        self, capabilities: Capabilities, accounts: JobAccounts, containers: UpstreamClient
    ) -> None:
        self._capabilities = capabilities
        self._accounts = accounts
        self._containers = containers

    async def run(self, request: web.Request) -> web.StreamResponse:
        """One job, from its envelope to the last byte for the caller.

        A place is given back only once the container's headers are here. Before that it leaks: at
        the time limit, or when the caller leaves while uploading or waiting. A container that
        cannot be reached, or answers 401, takes the whole capability away instead.
        """
        if request.method != "POST":
            return error(405, "Method not allowed")
        try:
            job = await admit(request.headers, self._capabilities, self._accounts, reserve=True)
        except NoCapacity as refusal:
            return error(503, str(refusal))
        except JobRefused as refusal:
            return error(400, str(refusal))
        body = await read_body(request)
        route = unquote(request.raw_path.partition("?")[0][len(PREFIX) :])
        try:
            url = parse_url(f"{job.url}/{route}" if route else job.url)
        except BadURL as bad:
            return error(500, str(bad))
        headers = {"Content-Type": request.headers.get("Content-Type", "")}
        if token := self._capabilities.token(job.capability):
            headers["Authorization"] = f"Bearer {token}"
        begun = self._accounts.now()
        try:
            answer = await self._containers.post(url, body, headers, job.timeout)
        except UpstreamUnreachable as failure:
            if not failure.gave_up:
                self._drop(job, str(failure))
            job.account.charge_since(begun)
            return error(500, f"{_FAILED}{failure}", job.account.headers)
        if answer.status == 401:
            answer.close()
            self._drop(job, "the container answered 401")
            job.account.charge_since(begun)
            return error(500, f"{_FAILED}worker auth token failed", job.account.headers)
        logger.info(
            "job %r for %s: the container answered %s", job.id, job.capability, answer.status
        )
        try:
            return await self._answer(request, job, answer, begun)
        finally:
            answer.close()
            self._capabilities.free(job.capability)

    async def _answer(
        self, request: web.Request, job: AdmittedJob, answer: UpstreamAnswer, begun: float
    ) -> web.StreamResponse:
        content_type = answer.headers.get("Content-Type", "")
        metadata = answer.headers.get("X-Metadata", "")
        if "text/event-stream" in content_type:
            return await sse.forward(request, answer, metadata, job.timeout, job.account)
        headers = {"Content-Type": content_type, "X-Metadata": metadata}
        try:
            body = await answer.read()
        except AnswerBrokeOff as broken:
            job.account.charge_since(begun)
            return error(500, str(broken), job.account.headers | headers)
        job.account.charge_since(begun)
        headers |= job.account.headers
        if answer.status > 399:
            return error(answer.status, body, headers)
        return reply(200, body, headers)

    async def token(self, request: web.Request, service_address: str) -> web.StreamResponse:
        """What a caller learns before a job: the price, and how many places are free."""
        if request.method != "GET":
            return error(405, "Method not allowed")
        sender_header = request.headers.get("Livepeer-Eth-Address", "")
        if not sender_header:
            return error(
                400, "Must have eth address and signature on address in Livepeer-Eth-Address header"
            )
        try:
            sender = await token_sender(sender_header, self._accounts)
        except JobRefused as refusal:
            return error(400, str(refusal))
        capability = request.headers.get("Livepeer-Capability", "")
        if not capability:
            return error(
                400,
                "Job capabilities not provided, must provide comma separated capabilities"
                " in Livepeer-Capability header",
            )
        try:
            money = self._accounts.token(sender["addr"], capability)
        except NoPrice as reason:
            return error(503, f"Could not get price err={reason}")
        token: dict[str, object] = {
            "sender_address": sender,
            **money,
            "service_addr": service_address,
        }
        if available := self._capabilities.available(capability):
            token["available_capacity"] = available
        else:
            self._capabilities.tell_why_none(capability)
        token["LastNonce"] = 0
        return reply(200, go_json.dumps(token) + b"\n", {"Content-Type": "application/json"})

    def _drop(self, job: AdmittedJob, reason: str) -> None:
        logger.warning("capability %s is gone: %s", job.capability, reason)
        self._capabilities.remove(job.capability)


_FAILED = "job not able to be processed, removing capability err="
