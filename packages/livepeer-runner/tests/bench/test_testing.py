"""`testing.bench`, as an author's test has it; and the page that a report becomes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from livepeer.runner import LivePipeline, Pipeline
from livepeer.runner.bench.html import page
from livepeer.runner.bench.paste import paste
from livepeer.runner.bench.report import BenchReport, ColdStart, Host, Usage
from livepeer.runner.testing import bench
from livepeer.trickle.media import VideoFrame


class Shout(Pipeline):
    """Fails for what is empty, and for what says so."""

    def predict(self, text: str = "hello") -> str:
        if text == "fail":
            raise RuntimeError(text)
        return text.upper()


class Same(LivePipeline):
    capacity = 2

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Page(HTMLParser):
    """What a page would fetch or run, and whether what it opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.asks: list[str] = []
        self.tags: dict[str, int] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.asks += [name for name, _ in attrs if name in ("src", "href", "srcset", "onload")]
        if tag not in ("meta", "line", "rect", "polyline", "circle") or not self.closes_itself():
            self.open += [] if tag == "meta" else [tag]

    def closes_itself(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def whole(text: str) -> Page:
    found = Page(text)
    assert not found.open and not found.asks and "script" not in found.tags
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert "prefers-color-scheme:dark" in text
    return found


@pytest.fixture(scope="module")
def calls() -> Iterator[BenchReport]:
    yield bench(Shout, rate=40, concurrency=1, duration=0.5)


def test_a_class_is_measured_in_one_line(calls: BenchReport) -> None:
    assert calls.failed == 0 and [load.loop for load in calls.loads] == ["closed", "open"]
    (load,) = bench(Shout, input={"text": "hi"}, rate=40, goodput="9s", duration=0.3).loads
    assert load.calls > 3 and load.goodput is not None
    with pytest.raises(ValueError, match="soon"):
        bench(Shout, goodput="soon")


def test_streams_are_measured_in_one_line_and_make_a_page() -> None:
    report = bench(Same, streams=2, duration=1.0)
    assert report.failed == 0 and report.live is not None
    assert [one.sent for one in report.live.steps[0].each] == [15, 15]
    assert report.live.steps[0].latency.count > 0
    found = whole(page(report))
    assert found.tags["figure"] == 2 and "2 streams" in page(report)


def test_a_report_is_one_page_that_asks_for_nothing(calls: BenchReport) -> None:
    report = calls.model_copy(update={"pipeline": "<script>alert(1)</script>"})
    text = page(report)
    found = whole(text)
    assert "&lt;script&gt;" in text and found.tags["figure"] == 2 == found.tags["svg"]
    assert found.tags["circle"] > 5 and found.tags["table"] == 1
    assert whole(page(calls.model_copy(update={"loads": []}))).tags.get("figure") is None


def test_a_line_that_an_operator_can_paste(calls: BenchReport) -> None:
    load = calls.loads[0].model_copy(
        update={"throughput": 61.2, "limit": "", "usage": Usage(cpu=1.5, memory_mb=380)}
    )
    given = {
        "pipeline": "sentiment",
        "pipeline_version": "1.0.0",
        "digest": "sha256:" + "0a1b" * 16,
        "loads": [load],
        "cold": ColdStart(ready=2.0, first_result=2.1),
    }
    host = Host(cpu="AMD EPYC 7763 64-Core Processor", cores=2, memory_mb=1, system="", python="")
    line = paste(calls.model_copy(update={**given, "host": host}))
    assert re.fullmatch(
        r"sentiment 1\.0\.0 @sha256:0a1b0a1b0a1b… on 2×EPYC 7763: 61\.2 req/s(, p\d\d [\d.]+ ms)?; "
        r"cold 2\.1 s; 380 MB",
        line,
    )
