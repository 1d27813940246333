"""Live streams by a go-livepeer gateway: media by WHIP and RTMP, data as server-sent events."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import quote

from livepeer.client.live.stream import Live, Wanted, is_plain, refused
from livepeer.client.network.jobs import RunningJob
from livepeer.client.protocol.wire import compact_json
from livepeer.client.untrusted import loads

_ID: Final = re.compile(r"(?!\.{1,2}$)[\w.~-]{1,256}", re.ASCII)


def start(capability: str, stream_id: str, params: Any) -> tuple[str, Any]:
    # go-livepeer's gateway wants the parameters as a text that is JSON.
    text = "" if params is None else compact_json(params)
    return "/process/stream/start", {"stream_id": stream_id, "params": text}


def path(stream_id: str, verb: str) -> str:
    return f"/process/stream/{quote(stream_id, safe='')}/{verb}"


def started(
    wanted: Wanted, stream_id: str, running: RunningJob, answer: bytes, hosts: Collection[str]
) -> Live:
    """By the body of the answer."""
    try:
        told = loads(answer)
    except ValueError:
        told = None
    named = told.get("stream_id") if isinstance(told, dict) else None
    if not isinstance(named, str) or not _ID.fullmatch(named):
        raise refused(running, "the gateway did not say which stream it started")
    # The URLs in the answer claim https at a host that the gateway guesses, even where it serves
    # plain http: only what is at another server is taken from there, and never called from here.
    root = running.place + path(named, "").rstrip("/")
    media = {
        name: url
        for name in ("whep_url", "rtmp_url", "rtmp_output_url")
        if isinstance(url := told.get(name), str) and url and is_plain(url)
    }
    if wanted.publish:
        media["whip_url"] = f"{root}/whip"
    data_url = f"{root}/data" if wanted.data else None
    place = running.place
    return Live(named, wanted.capability, running.road, place, data_url=data_url, urls=media)
