"""`Gateway`: the way to every capability of the network."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from livepeer.client.calls import CallArguments, Calls, parsed
from livepeer.client.config import Config, Token
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.tls import Trust
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import RunningJob
from livepeer.client.network.schemas import Schemas
from livepeer.client.payments import signer_for
from livepeer.client.portal import Portal
from livepeer.client.schema.schema import Schema
from livepeer.client.streams import AsyncStreamResponse, StreamResponse
from livepeer.client.types import CapabilityInfo, TlsMode

if TYPE_CHECKING:
    # Its default makes one signature do what two overloads would: without `output` it is Any.
    from typing_extensions import TypeVar

    from livepeer.client.calls import Input
    from livepeer.client.live.session import LiveSession
    from livepeer.trickle.media import AudioOutput, VideoOutput

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

_DEFAULT: Any = object()
""""As `MediaPublisher` does it": its defaults cost an import of PyAV to name."""


class Gateway:
    """Calls capabilities of the Livepeer network.

        gw = Gateway(orch_url="https://orch:8935", tls="pin")
        gw.run("sentiment", input={"text": "hello"})

    Every setting comes from an argument, else from `token`, else from the environment
    (`LIVEPEER_ORCH_URL`, `LIVEPEER_GATEWAY_URL`, `LIVEPEER_DISCOVERY_URL`, `LIVEPEER_SIGNER_URL`,
    `LIVEPEER_TOKEN`, `LIVEPEER_ETH_KEY`, `LIVEPEER_TLS`).

    Args:
        orch_url: one orchestrator or several (a list, or separated by commas).
        gateway_url: a go-livepeer gateway instead, which chooses and pays by itself.
        discovery_url: a service that lists orchestrators.
        signer_url: a remote signer.
        token: settings in one string, see `Token`.
        eth_key: a private key to sign with (extra `eth`).
        tls: `"verify"` (default), `"pin"` (trust the certificate shown first, refuse a change),
            `"insecure"`, or an `ssl.SSLContext`.
        max_price: the most to pay, in wei per second of compute.
        timeout: seconds for a whole call, all tries included, where the call does not say.
        trickle_hosts: `host` or `host:port` where the channels of a live session may be, beside
            those of the orchestrator that was asked for it (`LIVEPEER_TRICKLE_HOSTS`).
        max_retries: tries after the first one, with pauses that grow, where nobody has room or is
            ready yet (5); never where something may have run. A name that nobody is known to have
            had room for is tried twice more at most.

    One gateway serves any number of calls, threads and event loops. Leaving it (`with`,
    `async with`, `close`, `aclose`) closes its connections; so does dropping it.
    """

    def __init__(
        self,
        *,
        orch_url: str | Iterable[str] | None = None,
        gateway_url: str | None = None,
        discovery_url: str | None = None,
        signer_url: str | None = None,
        token: str | Token | None = None,
        eth_key: str | None = None,
        tls: TlsMode | ssl.SSLContext | None = None,
        max_price: float | Fraction | None = None,
        timeout: float | None = None,
        trickle_hosts: str | Iterable[str] | None = None,
        max_retries: int | None = None,
    ) -> None:
        self._config = Config.resolve(
            orch_url=orch_url,
            gateway_url=gateway_url,
            discovery_url=discovery_url,
            signer_url=signer_url,
            token=token,
            eth_key=eth_key,
            tls=tls,
            max_price=max_price,
            timeout=timeout,
            trickle_hosts=trickle_hosts,
            max_retries=max_retries,
        )
        self._trust = trust = Trust(self._config.tls)
        signer = signer_for(self._config, trust)
        self._dispatcher = Dispatcher(self._config, trust, signer)
        self._schemas = Schemas(self._dispatcher)
        self._calls = Calls(self._dispatcher, self._schemas)
        self._pools = Pools()
        self._portal = Portal()

    def __repr__(self) -> str:
        config = self._config
        if config.gateway:
            place = f"gateway_url={config.gateway!r}"
        else:
            known = [url for source in config.sources for url in source.orchestrators]
            place = f"orch_url={known!r}" if known else f"sources={len(config.sources)}"
        mode = config.tls if isinstance(config.tls, str) else "SSLContext"
        return f"Gateway({place}, tls={mode!r}, timeout={config.timeout:g})"

    # -- run and stream -------------------------------------------------------------------------

    def run(
        self,
        capability: str,
        *,
        input: Input = None,
        output: type[T] | None = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
    ) -> T:
        """Run a capability and return its value. `run_async` is the same for async code.

        Args:
            capability: its name.
            input: what the pipeline takes: a dict or a Pydantic model. Bytes, paths, open files,
                numpy and PIL pictures in it are encoded; bytes or a path alone are the whole body.
            output: a type to parse the value into (a Pydantic model, a dataclass, `list[int]`).
            model: narrows the choice to orchestrators that offer this model.
            timeout: seconds for everything together.
            route: the path at the container.
            idempotent: running it twice does no harm, so after a lost connection or a 5xx the next
                orchestrator may be tried.
            validate: check the input against the capability's schema first. By default that is done
                where the schema is known or can be had for free.
            max_retries: in place of the gateway's.

        Returns the JSON value, text, `FileOutput` for a file, a list of the values of a stream, or
        None for an empty answer. Raises a `LivepeerError`, see `livepeer.client.exceptions`.
        """
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries
        )
        return self._portal.call(self._run(call, output))

    async def run_async(
        self,
        capability: str,
        *,
        input: Input = None,
        output: type[T] | None = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
    ) -> T:
        """`run`, for async code."""
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries
        )
        return await self._run(call, output)

    def stream(
        self,
        capability: str,
        *,
        input: Input = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
    ) -> StreamResponse:
        """Run a capability and get its events as they come; arguments as for `run`.

            with gw.stream("llm", input={"prompt": "hi"}) as events:
                for event in events:
                    print(event.json()["token"], end="")

        The loop gives the pipeline's values; `events.progress` and `events.all()` give the rest. A
        pipeline that does not stream gives one event. An error in the middle is raised by the
        iteration, after the events that came before it, which its `received` holds.
        """
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries
        )
        return StreamResponse(self._portal, self._stream(call))

    def stream_async(
        self,
        capability: str,
        *,
        input: Input = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
    ) -> AsyncStreamResponse:
        """`stream`, for async code: `async with gw.stream_async(...) as events`."""
        return self._stream(
            CallArguments(
                capability, input, model, timeout, route, idempotent, validate, max_retries
            )
        )

    async def _run(self, call: CallArguments, output: type[T] | None) -> T:
        running = await self._start(call)
        value = await self._calls.value(call, running)
        return cast(T, value) if output is None else parsed(value, output, running)

    def _stream(self, call: CallArguments) -> AsyncStreamResponse:
        return AsyncStreamResponse(partial(self._start, call))

    async def _start(self, call: CallArguments) -> RunningJob:
        deadline = self._deadline(call.timeout)
        return await self._calls.start(await self._pools.current(), call, deadline)

    # -- live -----------------------------------------------------------------------------------

    def live(
        self,
        capability: str,
        *,
        params: Mapping[str, Any] | None = None,
        model: str | None = None,
        publish: bool = True,
        subscribe: bool = True,
        data: bool = True,
        output: VideoOutput | None = _DEFAULT,
        audio: AudioOutput | None = _DEFAULT,
        timeout: float | None = None,
    ) -> LiveSession:
        """A live session with a pipeline: `async with gw.live(...) as session`.

        Args:
            params: live parameters to begin with.
            publish, subscribe, data: the channels that are wanted: into the pipeline, out of it,
                and its records.
            output, audio: how published frames are encoded; None leaves the track out.
            timeout: seconds that the start may take, a cold container included (120).
        """
        # Whoever never goes live does not pay for importing the transport.
        from livepeer.client.live.calls import LiveCalls
        from livepeer.client.live.session import LiveSession
        from livepeer.client.live.stream import Wanted

        wanted = Wanted(capability, params, model, publish, subscribe, data)
        calls = LiveCalls(
            self._dispatcher,
            self._schemas,
            self._pools,
            self._trust,
            self._config.trickle_hosts,
        )
        outputs = {
            name: value
            for name, value in (("output", output), ("audio", audio))
            if value is not _DEFAULT
        }
        return LiveSession(calls, wanted, timeout, outputs)

    # -- what there is --------------------------------------------------------------------------

    def schema(self, capability: str, *, timeout: float | None = None) -> Schema | None:
        """What a capability takes and gives, asked of the capability itself and kept.

        None where it does not say, as containers that are not made with this SDK may not. Asking
        is a job of the capability, and counts as one where it has a price.
        """
        return self._portal.call(self.schema_async(capability, timeout=timeout))

    async def schema_async(self, capability: str, *, timeout: float | None = None) -> Schema | None:
        """`schema`, for async code."""
        http = await self._pools.current()
        return await self._schemas.get(http, capability, self._deadline(timeout))

    def capabilities(
        self, names: Iterable[str] | None = None, *, timeout: float | None = None
    ) -> list[CapabilityInfo]:
        """Price and free places of the named capabilities, freshly asked of every orchestrator.

        go-livepeer lists BYOC capabilities nowhere, so they are asked for by name. Without names:
        what discovery lists.
        """
        return self._portal.call(self.capabilities_async(names, timeout=timeout))

    async def capabilities_async(
        self, names: Iterable[str] | None = None, *, timeout: float | None = None
    ) -> list[CapabilityInfo]:
        """`capabilities`, for async code."""
        http = await self._pools.current()
        return await self._dispatcher.capabilities(http, names, self._deadline(timeout))

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._config.timeout if timeout is None else timeout)

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections of the sync methods. A call after it opens new ones."""
        if self._portal.started:
            self._portal.call(self._pools.aclose())
            self._portal.close()

    async def aclose(self) -> None:
        """Close the connections of this loop, and those of the sync methods."""
        await self._pools.aclose()
        if self._portal.started:
            await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
