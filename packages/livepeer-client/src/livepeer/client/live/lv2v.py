"""Live streams of classic live-video-to-video: the body of the start's answer names the channels.

There is no data channel, parameters go over control, and the end of the input ends the stream.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from livepeer.client.live.stream import Live, Wanted, channel_problem, refused
from livepeer.client.network.jobs import RunningJob
from livepeer.client.network.lv2v import START, model_of
from livepeer.client.untrusted import loads

CHANNELS: Final = "/ai/trickle/"
"""Where an orchestrator has its channels (go-livepeer, `TrickleHTTPPath`)."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")

LEFT: Final = (
    "a stream that may have begun there cannot be ended from here: it gets no input, without which"
    " the orchestrator ends it, and nothing more is paid for it"
)
"""Of a start whose answer does not tell by what it is ended (specs/live-video-to-video.md)."""


def start(capability: str, stream_id: str, params: Any) -> tuple[str, Any]:
    body = {
        "model_id": model_of(capability),
        "params": {} if params is None else params,
        "gateway_request_id": stream_id,
        "stream_id": stream_id,
    }
    return START, body


def path(stream_id: str, verb: str) -> str:
    raise NotImplementedError("an orchestrator has no requests about such a stream")


def ended_by(place: str, answer: bytes, hosts: Collection[str]) -> str | None:
    """The channel whose end is the end of the stream that an answer tells of, where it is at the
    orchestrator's own host: the one that it names, or else the one that go-livepeer names after
    the manifest. None where it tells of neither."""
    told = _told(answer) or {}
    url, manifest = told.get("publish_url"), told.get("manifest_id")
    if isinstance(url, str) and channel_problem(url, place, hosts) is None:
        return url
    if isinstance(manifest, str) and _NAME.fullmatch(manifest):
        return f"{place}{CHANNELS}{manifest}"
    return None


def _told(answer: bytes) -> Mapping[str, Any] | None:
    try:
        told = loads(answer)
    except ValueError:
        return None
    return told if isinstance(told, Mapping) else None


def started(
    wanted: Wanted, stream_id: str, running: RunningJob, answer: bytes, hosts: Collection[str]
) -> Live:
    """By the body of the answer; its names are from the caller's side."""
    told = _told(answer)
    if told is None:
        raise refused(running, "its answer to the start names no channels")
    urls: dict[str, str] = {}
    for name in ("publish_url", "subscribe_url", "control_url", "events_url"):
        url = told.get(name)
        if not isinstance(url, str) or not url:
            raise refused(running, f"the stream was started without {name}")
        if problem := channel_problem(url, running.place, hosts):
            raise refused(running, f"its {name} {problem}")
        urls[name] = url
    manifest = told.get("manifest_id")
    bill = running.bill
    if bill is not None:
        if not isinstance(manifest, str) or not manifest.isascii() or len(manifest) > 256:
            raise refused(running, "its answer names no manifest to pay for")
        bill.account.named(manifest)
        bill.start()
    return Live(
        stream_id,
        wanted.capability,
        running.road,
        running.place,
        publish_url=urls["publish_url"] if wanted.publish else None,
        subscribe_url=urls["subscribe_url"] if wanted.subscribe else None,
        control_url=urls["control_url"],
        events_url=urls["events_url"],
        ended_by=urls["publish_url"],
        bill=bill,
    )
