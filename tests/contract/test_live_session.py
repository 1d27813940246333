"""Live sessions: our client, the local network over TLS, our runner, real H.264."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.client import (
    ConfigurationError,
    Gateway,
    InvalidInputError,
    LiveSession,
    NoCapacityError,
    SessionEndedError,
)
from livepeer.runner import AudioFrame, VideoFrame
from livepeer.runner.devnet import LocalGateway
from livepeer.trickle import JSONLSubscriber
from livepeer.trickle.media import decode, encode

from .live import (
    HEIGHT,
    LIMIT,
    WIDTH,
    endless,
    orchestrator_process,
    pictures,
    register,
    take,
    u_of,
    with_sound,
)


async def test_a_file_goes_through_the_pipeline_and_every_frame_comes_out(
    gw: Gateway, clip: Path
) -> None:
    async with gw.live("lossless", params={"u": 90}) as session:
        session.publish_file(clip)
        frames = await take(session.subscribe(policy="all"))
        assert session.stats().subscribed is not None
    assert len(frames) == 60
    assert all(abs(u_of(frame) - 90) < 3 for frame in frames[1:])
    assert {(frame.width, frame.height) for frame in frames} == {(WIDTH, HEIGHT)}


async def test_parameters_change_while_it_runs_and_bad_ones_change_nothing(gw: Gateway) -> None:
    async with gw.live("tint", params={"u": 90}) as session:
        session.publish(endless())
        frames = session.subscribe()
        assert abs(u_of((await take(frames, 1))[0]) - 90) < 3
        with pytest.raises(InvalidInputError) as caught:
            await session.update({"u": 999})
        assert [field.field for field in caught.value.fields] == ["u"]
        await session.update({"u": 200})
        async with asyncio.timeout(LIMIT):
            async for frame in frames:
                assert u_of(frame) < 94 or u_of(frame) > 196
                if abs(u_of(frame) - 200) < 3:
                    break
        await session.control({"u": 30})
        async with asyncio.timeout(LIMIT):
            async for frame in frames:
                if abs(u_of(frame) - 30) < 3:
                    break
        assert session.ended is None


async def test_a_control_message_reaches_the_hook_and_one_that_nobody_takes_is_reported(
    gw: Gateway,
) -> None:
    async with gw.live("listening") as session:
        await session.control({"keep": "alive", "u": 1})
        assert await take(session.data(), 1) == [{"heard": {"keep": "alive", "u": 1}}]
        with pytest.raises(ConfigurationError, match="dict"):
            await session.control([1])  # type: ignore[arg-type]
    async with gw.live("silent") as session:
        await session.control({"u": 1})
        async with asyncio.timeout(LIMIT):
            async for event in session.events():
                if event["type"] == "error":
                    break
        assert event["error"]["type"] == "no_control_hook"
        assert session.ended is None


async def test_records_and_events_come_out_beside_the_pictures(gw: Gateway, clip: Path) -> None:
    async with gw.live("lossless", params={"u": 90}) as session:
        events = session.events()
        data = session.data()
        session.publish_file(clip)
        assert await take(data, 7) == [
            {"started": 90},
            *({"seen": n} for n in range(10, 61, 10)),
        ]
        await data.aclose()
        async with asyncio.timeout(LIMIT):
            async for event in events:
                if event["type"] == "status":
                    break
        assert (await session.status())["type"] == "status"
        assert session.stats().events > 0


async def test_whole_segments_pass_without_a_codec_on_this_side(gw: Gateway) -> None:
    segments = []
    for i in range(4):
        frames = (
            VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 9, np.uint8), time=i + n / 30)
            for n in range(30)
        )
        segments.append(encode(frames, None, format="mpegts"))

    async def paced() -> AsyncIterator[bytes]:
        for segment in segments:
            yield segment
            await asyncio.sleep(0.5)

    async with gw.live("lossless", params={"u": 50}) as session:
        publication = session.publish_segments(paced())
        frames = await take(session.subscribe(policy="all"))
        await publication
    assert len(frames) >= 90 and all(abs(u_of(frame) - 50) < 3 for frame in frames[1:])


async def test_the_end_of_a_session_frees_the_place_and_leaves_no_channel(
    network: Callable[..., Any],
) -> None:
    orchestrator = await network()
    async with Gateway(orch_url=orchestrator.url, tls="insecure") as gw:
        async with gw.live("tint") as session:
            stream_id = session.stream_id
            assert (await gw.capabilities_async(["tint"]))[0].capacity == 3
            assert orchestrator.trickle.get(f"{stream_id}-control") is not None
        assert session.ended == "ended by this side"
        assert (await gw.capabilities_async(["tint"]))[0].capacity == 4
        assert orchestrator.trickle.get(f"{stream_id}-control") is None
        with pytest.raises(SessionEndedError):
            await session.update({})
        await session.aclose()


async def test_an_error_that_the_pipeline_got_over_is_no_loss_at_the_end(
    gw: Gateway, clip: Path
) -> None:
    async with gw.live("lossless") as session:
        with pytest.raises(InvalidInputError):
            await session.update({"u": 999})
        session.publish_file(clip)
        frames = await take(session.subscribe(policy="all"))  # ends, and raises nothing
        assert len(frames) == 60 and session.stats().errors == 1
        assert session.ended == "the pipeline ended the stream: the input ended"


async def test_the_end_of_a_file_waits_for_nothing_that_is_known_already(
    gw: Gateway, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever waited out the limit would be here longer than the test may take.
    monkeypatch.setattr("livepeer.client.live.input.LINGER", 10 * LIMIT)
    async with gw.live("lossless") as session:
        publication = session.publish_file(clip)
        assert len(await take(session.subscribe(policy="all"))) == 60
        assert publication.done


async def test_pictures_and_sound_pass_together_or_one_of_them_alone(
    gw: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "sound.mp4"
    encode(with_sound(45), path, format="mp4")
    for video, audio, kinds in (
        (True, True, {VideoFrame, AudioFrame}),
        (True, False, {VideoFrame}),
        (False, True, {AudioFrame}),
    ):
        async with gw.live("lossless") as session:
            session.publish_file(path, realtime=False)
            frames = await take(session.subscribe(policy="all", video=video, audio=audio))
        assert {type(frame) for frame in frames} == kinds
        assert [type(frame) for frame in frames].count(VideoFrame) == (45 if video else 0)
        heard = sum(frame.samples.shape[1] for frame in frames if isinstance(frame, AudioFrame))
        assert abs(heard / 48_000 - 1.5) < 0.1 if audio else heard == 0


async def test_a_stream_that_is_refused_says_so_with_its_fields(gw: Gateway) -> None:
    with pytest.raises(InvalidInputError) as caught:
        async with gw.live("tint", params={"u": "green"}):
            pass
    assert [field.field for field in caught.value.fields] == ["u"]
    assert caught.value.rejections[0].phase == "response"
    with pytest.raises(NoCapacityError):
        async with gw.live("never-registered"):
            pass


async def test_a_pipeline_that_gives_up_ends_the_session_with_its_reason(
    gw: Gateway, clip: Path
) -> None:
    async with gw.live("failing") as session:
        session.publish_file(clip)
        with pytest.raises(SessionEndedError) as caught:
            await take(session.subscribe())
            await asyncio.wait_for(session.wait(), LIMIT)
            await session.update({})
        assert session.ended and session.ended in str(caught.value)


@pytest.mark.slow
async def test_the_command_says_so_where_nothing_came_out_and_why_where_it_failed(
    network: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    orchestrator = await network()
    for name, code, told in (
        ("silent", 0, b"nothing came out"),
        ("failing", 7, b"raised RuntimeError\n"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from livepeer.trickle.cli import main; main()",
            *("live", name, "-i", str(clip), "-o", str(tmp_path / "out.mp4")),
            *("--orch", orchestrator.url, "--tls", "insecure"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
        assert process.returncode == code and told in err and b"Traceback" not in err, err.decode()
        assert not (tmp_path / "out.mp4").exists()


@pytest.mark.slow
async def test_the_command_that_is_told_to_end_gives_the_place_back(
    network: Callable[..., Any], tmp_path: Path
) -> None:
    orchestrator = await network()
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    for arguments, code in ((["-i", str(bad)], 2), (["-o", str(tmp_path / "out.mp4")], 143)):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from livepeer.trickle.cli import main; main()",
            *("live", "tint", *arguments, "--orch", orchestrator.url, "--tls", "insecure"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        if code != 2:  # a file that is none is refused before anything is started
            assert await asyncio.wait_for(process.stdout.readline(), LIMIT) == b'{"started": 128}\n'
            assert orchestrator.capabilities.available("tint") == 3
            process.terminate()
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
        assert process.returncode == code and b"Traceback" not in err, err.decode()
        assert orchestrator.capabilities.available("tint") == 4


@pytest.mark.parametrize("tls", ["pin", pytest.param("insecure", marks=pytest.mark.slow)])
async def test_an_orchestrator_that_is_killed_and_restarted_ends_the_session_with_its_reason(
    containers: dict[str, str], tls: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    async with orchestrator_process() as (url, process):
        await register(url, "s", containers)
        async with Gateway(orch_url=url, tls=tls) as gw, gw.live("tint") as session:
            publication = session.publish(pictures(1_000_000), end=False)
            frames = session.subscribe()
            await take(frames, 3)
            process.kill()
            await process.wait()
            async with orchestrator_process(int(url.rpartition(":")[2])):
                async with asyncio.timeout(LIMIT):
                    why = await session.wait()
                assert ("certificate" if tls == "pin" else "no longer has the stream") in why
                with pytest.raises(SessionEndedError, match="live session is over"):
                    await take(frames)
                for call in (session.update({"u": 1}), session.control({}), publication):
                    with pytest.raises(SessionEndedError):
                        await asyncio.wait_for(_awaited(call), LIMIT)


async def _awaited(thing: Any) -> Any:
    return await thing


async def test_what_was_not_asked_for_is_named(gw: Gateway) -> None:
    async with gw.live("tint", publish=False, subscribe=False, data=False) as session:
        with pytest.raises(ConfigurationError, match="subscribe=False"):
            session.subscribe()
        with pytest.raises(ConfigurationError, match="data=False"):
            session.data()
        with pytest.raises(ConfigurationError, match="publish=False"):
            session.publish_segments([])
    with pytest.raises(RuntimeError, match="async with"):
        gw.live("tint").subscribe()
    async with gw.live("tint") as session:
        with pytest.raises(FileNotFoundError):
            session.publish_file("no-such-file.mp4")


async def test_by_a_gateway_parameters_status_and_data_work_and_media_says_where(
    network: Callable[..., Any],
) -> None:
    orchestrator = await network()
    async with (
        LocalGateway([orchestrator.url]) as gateway,
        Gateway(gateway_url=gateway.url) as gw,
        gw.live("lossless", params={"u": 90}, publish=False, subscribe=False) as session,
    ):
        async with asyncio.timeout(LIMIT):
            found = asyncio.create_task(take(session.data(), 1))
            while not found.done():  # it begins near the live edge, so not with the first record
                await session.update({"u": 91})
                await asyncio.wait((found,), timeout=0.2)
            assert found.result()[0] in ({"started": 90}, {"u": 91})
            while (await session.status()).get("type") != "status":  # noqa: ASYNC110 — a request
                await asyncio.sleep(0.05)
        assert (await session.update({"u": 7}))["params"]["u"] == 7
        with pytest.raises(InvalidInputError):
            await session.update({"u": -1})
        with pytest.raises(ConfigurationError, match="WHIP"):
            session.subscribe()
        with pytest.raises(ConfigurationError, match="update"):
            await session.control({"u": 1})
        with pytest.raises(ConfigurationError, match="status"):
            session.events()


async def test_keepalives_are_written_for_an_orchestrator_that_writes_none(
    network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.live.channels.KEEP_ALIVE_SECONDS", 0.2)
    orchestrator = await network(tls=False)
    async with Gateway(orch_url=orchestrator.url) as gw, gw.live("tint") as session:
        url = f"{orchestrator.url}/ai/trickle/{session.stream_id}-control"
        async with JSONLSubscriber(url, start=0, keepalives=True) as control:
            assert await take(control, 3) == [{"keep": "alive"}] * 3


async def test_the_first_frame_comes_soon(gw: Gateway, clip: Path) -> None:
    async with gw.live("tint") as session:
        begun = time.monotonic()
        session.publish_file(clip)
        await take(session.subscribe(), 1)
        assert time.monotonic() - begun < 10
        assert isinstance(session, LiveSession) and "running" in repr(session)


async def test_the_command_sends_a_file_and_keeps_what_comes_out(
    network: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    orchestrator = await network()
    target = tmp_path / "out.mp4"
    arguments = ["live", "lossless", "-i", str(clip), "-o", str(target), "-p", "u=60"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from livepeer.trickle.cli import main; main()",
        *arguments,
        *("--orch", orchestrator.url, "--tls", "insecure"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 0, err.decode()
    frames = [frame for frame in decode(target) if isinstance(frame, VideoFrame)]
    assert len(frames) == 60 and all(abs(u_of(frame) - 60) < 4 for frame in frames[1:])
    records = [json.loads(line) for line in out.splitlines()]
    assert records == [{"started": 60}, *({"seen": n} for n in range(10, 61, 10))]
    told = re.search(rb"60 pictures, (\S+) a second, the first after", err)
    # Of a file of 30 a second, which is sent as fast as it is shown: the time at which a session
    # starts and ends is no part of that.
    assert told and 25 < float(told[1]) < 35, err
