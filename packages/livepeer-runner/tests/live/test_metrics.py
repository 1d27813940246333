"""`/metrics` of a live container: everything a stream counts, in as many series as before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from livepeer.runner import LivePipeline, VideoFrame


class Counts(LivePipeline):
    realtime = False
    capacity = 4
    max_errors = 5

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        if self.params.get("broken"):
            raise RuntimeError("broken")
        self.emit_data({"at": float(frame.time)})
        return frame


async def scraped(http: httpx.AsyncClient) -> dict[str, Metric]:
    text = (await http.get("/metrics")).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(families: dict[str, Metric]) -> dict[str, float]:
    return {
        sample.name + "".join(f":{value}" for value in sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }


def is_live(name: str) -> bool:
    return name.startswith(("livepeer_stream", "livepeer_frame", "livepeer_record"))


async def test_what_streams_count_is_scraped_in_a_bounded_number_of_series(
    stage: Any, make_clip: Callable[..., Any]
) -> None:
    async with stage(Counts) as it:
        before = await scraped(it.http)
        await it.start("good")
        await it.start("bad", params={"broken": True})
        assert values(await scraped(it.http))["livepeer_streams"] == 2
        for name in ("good", "bad"):
            await it.feed(name, make_clip(10, audio=False), speed=None)
        await it.until(lambda: not it.server.service.work.sessions.running)
        after = await scraped(it.http)
    live = [family for name, family in after.items() if is_live(name)]
    assert all(family.documentation and family.type != "unknown" for family in live)
    assert {name for name in values(after) if is_live(name)} == {
        name for name in values(before) if is_live(name)
    }
    found = values(after)
    assert found["livepeer_streams"] == 0
    assert found["livepeer_streams_ended_total:ended"] == 1
    assert found["livepeer_streams_ended_total:failed"] == 1
    # The bad one passes its frames on as they came, up to the one that ends it.
    assert found["livepeer_frames_in_total"] == 15
    assert found["livepeer_frames_out_total"] == 14
    assert found["livepeer_stream_errors_total"] == 5
    assert found["livepeer_records_sent_total"] == 10
    assert found["livepeer_records_dropped_total"] == 0
    assert found["livepeer_stream_events_sent_total"] >= 4
    assert found["livepeer_frame_seconds_count"] == 14
    assert found["livepeer_frame_seconds_bucket:+Inf"] == 14
    assert 0 < found["livepeer_frame_seconds_sum"] < 14 * 5
    buckets = [v for name, v in found.items() if name.startswith("livepeer_frame_seconds_bucket")]
    assert buckets == sorted(buckets)
