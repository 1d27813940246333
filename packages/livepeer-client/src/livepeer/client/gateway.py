"""`Gateway`: the way to every capability of the network."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from livepeer.client.calls import CallArguments, parsed
from livepeer.client.config import Config, Token
from livepeer.client.engine import Engine
from livepeer.client.schema.schema import Schema
from livepeer.client.streams import AsyncStreamResponse, StreamResponse
from livepeer.client.types import CapabilityInfo, TlsMode

if TYPE_CHECKING:
    # Its default makes one signature do what two overloads would: without `output` it is Any.
    from typing_extensions import TypeVar

    from livepeer.client.apps.opening import AppOpening
    from livepeer.client.calls import CallInput
    from livepeer.client.live.session import LiveSession
    from livepeer.trickle.media import AudioOutput, VideoOutput

    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")

_DEFAULT: Any = object()
"""Stands for the defaults of `MediaPublisher`: to name them would import PyAV."""


class Gateway:
    """Calls capabilities of the Livepeer network.

        gw = Gateway(orch_url="https://orch:8935", tls="pin")
        gw.run("sentiment", input={"text": "hello"})

    A setting comes from its argument, else from `token`, else from the environment. Named at one of
    these levels, `orch_url`, `gateway_url` and `discovery_url` hide those of the levels below.

    - `orch_url`: one orchestrator, or several (a list, or separated by commas);
      `LIVEPEER_ORCH_URL`.
    - `gateway_url`: a go-livepeer gateway instead, which chooses and pays by itself;
      `LIVEPEER_GATEWAY_URL`.
    - `discovery_url`: a service that lists orchestrators; `LIVEPEER_DISCOVERY_URL`.
    - `signer_url`: a remote signer; `LIVEPEER_SIGNER_URL`.
    - `token`: these settings in one string, see `Token`; `LIVEPEER_TOKEN`.
    - `eth_key`: a private key in hex to sign and pay with (extra `eth`); `LIVEPEER_ETH_KEY`.
    - `tls`: `"verify"` (default), `"pin"` (trust the certificate shown first, refuse another one
      later), `"insecure"`, or an `ssl.SSLContext`; `LIVEPEER_TLS`.
    - `max_price`: the most to pay for each unit of an offer, in wei (a second, or where a live
      runner says so a 720p pixel-second, or a request); no limit by default.
    - `max_spend`: the most to pay altogether, in wei; no limit by default.
    - `timeout`: seconds for a whole call, all tries together, unless the call has its own (120).
    - `trickle_hosts`: `host` or `host:port` where the channels of a live session may be, in
      addition to the orchestrator's own; `LIVEPEER_TRICKLE_HOSTS`.
    - `max_retries`: tries after the first one, with growing pauses, while nobody has room or is
      ready (5). A job that may have run is never tried again this way. A capability that no
      orchestrator is known to have had room for is tried twice more at most.

    Raises `ConfigurationError` for a setting that is wrong.

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
        max_spend: float | Fraction | None = None,
        timeout: float | None = None,
        trickle_hosts: str | Iterable[str] | None = None,
        max_retries: int | None = None,
    ) -> None:
        config = Config.resolve(
            orch_url=orch_url,
            gateway_url=gateway_url,
            discovery_url=discovery_url,
            signer_url=signer_url,
            token=token,
            eth_key=eth_key,
            tls=tls,
            max_price=max_price,
            max_spend=max_spend,
            timeout=timeout,
            trickle_hosts=trickle_hosts,
            max_retries=max_retries,
        )
        self._engine = Engine(config)

    def __repr__(self) -> str:
        config = self._engine.config
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
        input: CallInput = None,
        output: type[T] | None = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
        max_spend: float | Fraction | None = None,
    ) -> T:
        """Run a capability and return its value. `run_async` is the same for async code.

        - `capability`: its name.
        - `input`: what the pipeline takes: a dict, a list or a Pydantic model; an empty object by
          default. Bytes, paths, open files, numpy arrays and PIL images in it are encoded. Bytes or
          a path alone are sent as the whole body.
        - `output`: a type to parse the value into (a Pydantic model, a dataclass, `list[int]`).
        - `model`: choose only orchestrators that offer this model.
        - `timeout`: seconds for everything together; the gateway's by default.
        - `route`: the path at the container.
        - `idempotent`: running it twice does no harm, so after a lost connection or a status of 500
          or above the next orchestrator may be tried.
        - `validate`: check the input against the capability's schema before sending. By default
          this is done if the schema is known, or the capability is free and can be asked for it.
        - `max_retries`: in place of the gateway's.
        - `max_spend`: the most that this call may cost, in wei; the gateway's holds too.

        Returns the JSON value, text, a `FileOutput` for a file, a list of the values of a stream,
        or None for an empty answer. Raises a `LivepeerError`: see `livepeer.client.exceptions`.
        """
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries, max_spend
        )
        return self._engine.portal.call(self._run(call, output))

    async def run_async(
        self,
        capability: str,
        *,
        input: CallInput = None,
        output: type[T] | None = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
        max_spend: float | Fraction | None = None,
    ) -> T:
        """`run`, for async code."""
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries, max_spend
        )
        return await self._run(call, output)

    def stream(
        self,
        capability: str,
        *,
        input: CallInput = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
        max_spend: float | Fraction | None = None,
    ) -> StreamResponse:
        """Run a capability and get its events as they come; arguments as for `run`.

            with gw.stream("llm", input={"prompt": "hi"}) as events:
                for event in events:
                    print(event.json()["token"], end="")

        The loop gives the pipeline's values, `events.progress` its last report of progress,
        `events.all()` every event. A pipeline that does not stream gives one event. An error in the
        middle is raised by the loop after the events that came before it; its `received` holds
        their values. Raises what `run` raises.
        """
        call = CallArguments(
            capability, input, model, timeout, route, idempotent, validate, max_retries, max_spend
        )
        return StreamResponse(self._engine.portal, self._stream(call))

    def stream_async(
        self,
        capability: str,
        *,
        input: CallInput = None,
        model: str | None = None,
        timeout: float | None = None,
        route: str = "predict",
        idempotent: bool = False,
        validate: bool | None = None,
        max_retries: int | None = None,
        max_spend: float | Fraction | None = None,
    ) -> AsyncStreamResponse:
        """`stream`, for async code: `async with gw.stream_async(...) as events`."""
        return self._stream(
            CallArguments(
                capability,
                input,
                model,
                timeout,
                route,
                idempotent,
                validate,
                max_retries,
                max_spend,
            )
        )

    async def _run(self, call: CallArguments, output: type[T] | None) -> T:
        running = await self._engine.start(call)
        value = await self._engine.calls.value(running)
        return cast(T, value) if output is None else parsed(value, output, running)

    def _stream(self, call: CallArguments) -> AsyncStreamResponse:
        return AsyncStreamResponse(partial(self._engine.start, call))

    # -- sessions -------------------------------------------------------------------------------

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
        max_spend: float | Fraction | None = None,
    ) -> LiveSession:
        """A live session with a pipeline: `async with gw.live(...) as session`.

        - `params`: the live parameters to begin with.
        - `model`: choose only orchestrators that offer this model.
        - `publish`, `subscribe`, `data`: the channels to open: into the pipeline, out of it, and
          its records.
        - `output`, `audio`: how published frames are encoded (`livepeer.trickle.media`); None
          leaves that track out.
        - `timeout`: seconds that the start may take, with that of a container (120).
        - `max_spend`: the most that the session may cost, in wei; one that would cost more ends.

        Nothing is sent before the session is entered; that raises what `run` raises.
        """
        channels = {"publish": publish, "subscribe": subscribe, "data": data}
        outputs = {
            name: value
            for name, value in (("output", output), ("audio", audio))
            if value is not _DEFAULT
        }
        return self._engine.live(capability, params, model, channels, outputs, timeout, max_spend)

    def session(
        self,
        app: str,
        *,
        timeout: float | None = None,
        max_spend: float | Fraction | None = None,
    ) -> AppOpening:
        """A session with an app of live runners that may be anybody's, to send it requests.

            async with gw.session("org/app") as session:
                answer = await session.request("POST", "/detect", json={"x": 1})
                print(answer.status, answer.json())

        `with` in place of `async with` is the same without a loop. For apps that are made with this
        SDK there are `run`, `stream` and `live`; `run` also calls any app that answers one JSON
        body with another: `gw.run("org/app", input={...}, route="detect")`.

        `timeout`: seconds that the session may take to begin, and each of its requests; the
        gateway's by default. `max_spend`: the most that it may cost, in wei. Nothing is sent before
        it is entered; that raises what `run` raises.
        """
        return self._engine.session(app, timeout, max_spend)

    # -- what there is --------------------------------------------------------------------------

    def schema(self, capability: str, *, timeout: float | None = None) -> Schema | None:
        """What a capability takes and returns: asked of the capability itself, then kept for 300 s.

        None if it does not tell, which containers made without this SDK may not. The request is a
        job, and paid for as one. `timeout` in seconds; raises what `run` raises.
        """
        return self._engine.portal.call(self.schema_async(capability, timeout=timeout))

    async def schema_async(self, capability: str, *, timeout: float | None = None) -> Schema | None:
        """`schema`, for async code."""
        engine = self._engine
        http = await engine.pools.current()
        return await engine.schemas.get(http, capability, engine.deadline(timeout))

    def capabilities(
        self, names: Iterable[str] | None = None, *, timeout: float | None = None
    ) -> list[CapabilityInfo]:
        """Price and free places of the named capabilities, asked of every orchestrator now.

        go-livepeer lists BYOC capabilities nowhere, so they are asked for by name; without names:
        the apps of live runners that orchestrators list, and whatever a discovery service or a
        signer lists. `offer.runners` tells of each live runner. An orchestrator that did not answer
        is in `rejections`; without names, its error is raised where nothing is listed and none
        could be reached. Raises `ConfigurationError` with a `gateway_url`: a gateway tells nothing.
        """
        return self._engine.portal.call(self.capabilities_async(names, timeout=timeout))

    async def capabilities_async(
        self, names: Iterable[str] | None = None, *, timeout: float | None = None
    ) -> list[CapabilityInfo]:
        """`capabilities`, for async code."""
        engine = self._engine
        http = await engine.pools.current()
        return await engine.dispatcher.catalogue.capabilities(http, names, engine.deadline(timeout))

    def spent(self) -> Fraction:
        """Wei that this gateway has paid so far: the value of all tickets that were signed for it.

        By a `gateway_url` 0, since a gateway pays by itself.
        """
        return self._engine.wallet.budget.spent

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections of the sync methods. A later call opens new ones."""
        self._engine.close()

    async def aclose(self) -> None:
        """Close the connections of this loop, and those of the sync methods."""
        await self._engine.aclose()

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
