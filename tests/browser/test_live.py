"""Live streams on the page: what goes in comes out, changed, in time, and is heard."""

import json
import re
import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import av
import numpy as np
import pytest

from .conftest import (
    HEIGHT,
    NUMBER,
    WIDTH,
    Lines,
    Network,
    Open,
    network,
    numbered_clip,
    served,
)

pytestmark = pytest.mark.browser
LIVE = ".stream .pill[data-state=live]"
BLUE = "([r, g, b]) => b > r + 60 && b > g"
BURST = """
async () => {
  const [{ Downlink }, { Guards }] = await Promise.all(
    ["downlink.js", "figures.js"].map((name) => import(new URL(name, location.href))));
  const units = [];
  const encoder = new VideoEncoder({
    output(chunk) {
      const data = new Uint8Array(chunk.byteLength);
      chunk.copyTo(data);
      units.push({ key: chunk.type === "key", time: chunk.timestamp, data });
    },
    error(error) { throw error; },
  });
  encoder.configure({
    codec: "avc1.42001f", width: 640, height: 360, latencyMode: "realtime",
    bitrate: 2e6, avc: { format: "annexb" },
  });
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
  const paint = canvas.getContext("2d");
  for (let number = 0; number < 60; number += 1) {
    paint.fillStyle = `rgb(${4 * number}, 80, 90)`;
    paint.fillRect(10 * number, 0, 200, 360);
    const picture = new VideoFrame(canvas, { timestamp: number * 33333 });
    encoder.encode(picture, { keyFrame: number === 0 });
    picture.close();
    await encoder.flush();
  }
  const guards = new Guards();
  let last = -1, shown = 0;
  const downlink = new Downlink(document.createElement("canvas"), guards, (time) => {
    last = time;
    shown += 1;
  }, (message) => { throw new Error(message); }, () => {}, () => {});
  for (const unit of units) downlink.decode(unit);
  const until = performance.now() + 10000;
  while (last !== units.at(-1).time && performance.now() < until) {
    await new Promise((done) => setTimeout(done, 20));
  }
  const left = guards.element.querySelectorAll("[data-guard*=keyframe]").length;
  return { sent: units.at(-1).time, last, shown, left };
}
"""
"""Sixty pictures, of which one is a keyframe, come to the page's decoder at once."""
HOLDS = """
window.given = 0;
window.VideoDecoder = class extends VideoDecoder {
  constructor({ output, error }) {
    const kept = [];
    super({
      error,
      output(frame) {
        kept.push(frame);
        window.given += 1;
        if (kept.length > 4) output(kept.shift());
      },
    });
  }
};
"""
"""A decoder as some hardware has them: the last four pictures stay in it."""
COUNT_SENT = """
() => {
  const { encode } = VideoEncoder.prototype;
  window.sent = window.taken = 0;
  VideoEncoder.prototype.encode = function (...given) {
    window.sent += 1;
    return encode.apply(this, given);
  };
  const video = document.querySelector("video");
  const next = () => video.requestVideoFrameCallback(() => { window.taken += 1; next(); });
  next();
}
"""


def in_flight(local: Network) -> int:
    with urlopen(f"{local.container('tint')}/health", timeout=10) as answer:
        return int(json.load(answer)["in_flight"])


def until_free(local: Network, seconds: float) -> float:
    """The seconds until no stream runs."""
    began = time.monotonic()
    while in_flight(local):
        assert time.monotonic() - began < seconds, f"a slot is taken after {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - began


def until_colour(page: Any, wanted: str) -> float:
    """The milliseconds until the result has it, by the page's own clock."""
    waited: float = page.evaluate(
        f"""async () => {{
          const look = {NUMBER};
          const wanted = {wanted};
          const began = performance.now();
          while (!wanted(look().colour)) {{
            if (performance.now() - began > 20000) throw new Error(`it is ${{look().colour}}`);
            await new Promise(requestAnimationFrame);
          }}
          return performance.now() - began;
        }}"""
    )
    return waited


def seen(page: Any, count: int) -> list[int]:
    """The numbers of the pictures that the result shows, one after the other."""
    numbers: list[int] = page.evaluate(
        f"""async () => {{
          const look = {NUMBER};
          const seen = [];
          const began = performance.now();
          while (seen.length < {count}) {{
            if (performance.now() - began > 30000) throw new Error(`only ${{seen}}`);
            const {{ number }} = look();
            if (number !== seen.at(-1)) seen.push(number);
            await new Promise(requestAnimationFrame);
          }}
          return seen;
        }}"""
    )
    return numbers


def test_the_page_plays_at_once_and_a_slider_is_seen_in_the_pixels(
    local: Network, tab: Open
) -> None:
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    page.wait_for_function(
        "() => document.querySelector('.figure[data-figure=Latency]').dataset.value > 0"
    )
    assert until_colour(page, "([r, g, b]) => Math.abs(r - b) < 25 && r > 0") >= 0
    slider = page.get_by_label("U", exact=True)
    slider.fill("230")
    until_colour(page, BLUE)
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")
    assert page.get_by_label("U, exactly").input_value() == "227"
    page.get_by_label("U, exactly").fill("300")
    page.wait_for_selector("[data-field=u] .error:not([hidden])")
    assert page.inner_text("[data-field=u] .error") == "Input should be less than or equal to 255"
    until_colour(page, BLUE)  # nothing has changed
    page.get_by_label("U, exactly").fill("227")
    page.wait_for_selector("[data-field=u] .error", state="hidden")
    page.get_by_text("none").click()  # the radio of another field: no tint any more
    until_colour(page, f"(colour) => !({BLUE})(colour)")
    page.wait_for_function("() => document.querySelector('.log').textContent.includes('picture')")
    page.close()
    assert until_free(local, 30) < 2


def test_a_file_goes_through_picture_by_picture_with_its_sound(
    local: Network, tab: Open, clip: Path, tmp_path: Path
) -> None:
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    page.get_by_label("U", exact=True).fill("230")
    page.set_input_files("#input-file", str(clip))
    page.wait_for_function("() => document.querySelector('canvas.result-picture').height === 360")
    page.wait_for_selector(LIVE)
    until_colour(page, BLUE)
    numbers = seen(page, 12)
    steps = [(after - before) % 60 for before, after in pairwise(numbers)]
    assert all(1 <= step <= 30 for step in steps), numbers  # onward, whatever a busy machine skips
    page.wait_for_selector("meter:not([hidden])")
    page.wait_for_function(
        "() => Math.abs(document.querySelector('.stream').dataset.pitch - 440) < 30"
    )
    assert page.evaluate("() => document.querySelector('meter').value") > 0.02
    seconds = recorded(page, tmp_path / "recording")
    with av.open(str(tmp_path / "recording")) as media:
        frames = list(media.decode(video=0))
        assert {(frame.width, frame.height) for frame in frames} == {(WIDTH, HEIGHT)}
        assert len(frames) > 5
        pictures = float(frames[-1].time - frames[0].time)
        media.seek(0)
        sound = np.concatenate([each.to_ndarray()[0] for each in media.decode(audio=0)])
        rate = media.streams.audio[0].rate
    # What stands still at either end, while a recorder begins and a busy machine waits, is less.
    assert seconds / 2 < pictures < seconds + 1
    assert seconds / 2 < len(sound) / rate < seconds + 1
    spectrum = np.abs(np.fft.rfft(sound.astype(float)))
    assert abs(float(spectrum.argmax()) * rate / len(sound) - 440) < 10


def recorded(page: Any, file: Path) -> float:
    """Record the result into a file; the seconds between the two clicks."""
    page.get_by_text("Record", exact=True).click()
    began = time.monotonic()
    page.wait_for_timeout(2000)  # what is recorded takes its time
    page.get_by_text("Stop recording").click()
    seconds = time.monotonic() - began
    with page.expect_download() as download:
        page.get_by_text("Download (").click()
    assert re.fullmatch(r"recording\.(mp4|webm)", download.value.suggested_filename)
    download.value.save_as(file)
    return seconds


def test_the_camera_goes_through_picture_by_picture(local: Network, tab: Open) -> None:
    page = tab(f"{local.page}#tint", permissions=["camera", "microphone"])
    page.wait_for_selector(LIVE)
    page.click("#source-camera")
    page.wait_for_selector("#source-camera[aria-pressed=true]")
    page.wait_for_function(
        """() => {
          const { width, height } = document.querySelector("canvas.result-picture");
          return width * 9 === height * 16 && width !== 1280;
        }"""
    )
    numbers = seen(page, 8)
    assert len(set(numbers)) >= 6 and all(number < 60 for number in numbers), numbers


def test_a_microphone_is_heard_in_the_result(local: Network, tab: Open) -> None:
    """Chromium's fake microphone beeps once a second."""
    page = tab(f"{local.page}#tint", permissions=["microphone"])
    page.wait_for_selector(LIVE)
    page.click("#source-microphone")
    page.wait_for_selector("#source-microphone[aria-pressed=true]")
    page.wait_for_selector("meter:not([hidden])")
    page.wait_for_function("() => document.querySelector('meter').value > 0.01")
    # Whoever has a microphone does not hear the result, which would go in again.
    assert page.get_by_role("button", name="Turn the sound on").is_visible()


def test_a_screen_goes_through(local: Network, tab: Open) -> None:
    """By `getDisplayMedia`, with Chromium's fake screen: a headless one has none of its own."""
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    page.get_by_label("U", exact=True).fill("230")
    page.click("#source-screen")
    page.wait_for_selector("#source-screen[aria-pressed=true]")
    page.wait_for_selector(LIVE)
    until_colour(page, BLUE)


def test_the_code_beside_a_stream_is_true(
    local: Network, tab: Open, tmp_path: Path, home: Path
) -> None:
    page = tab(f"{local.page}#tint")
    page.get_by_label("U", exact=True).fill("230")
    page.wait_for_function("() => document.querySelector('#code-panel').textContent.includes(230)")
    lines = Lines(page, tmp_path, home)
    page.close()
    numbered_clip(tmp_path / "in.mp4", 24)
    until_free(local, 30)
    frames = re.findall("VideoFrame", lines.run("Python"))
    assert 12 < len(frames) <= 24
    lines.run("Shell")
    with av.open(str(tmp_path / "out.mp4")) as media:
        shown = next(iter(media.decode(video=0))).to_ndarray(format="rgb24")
        assert int(shown[-20, WIDTH // 2, 2]) > int(shown[-20, WIDTH // 2, 0]) + 60
        assert media.duration is not None and 0.8 < media.duration / av.time_base < 2.4
    if shutil.which("curl"):
        until_free(local, 30)
        answer = lines.run("curl").lower()
        assert answer.startswith("http/1.1 200") and "x-publish-url: http" in answer, answer
        until_free(local, 30)  # its second line has ended what the first began


def test_the_code_beside_a_stream_of_a_container_is_true(
    tab: Open, tmp_path: Path, home: Path
) -> None:
    shutil.copy(Path(__file__).parent / "pipelines.py", tmp_path)
    numbered_clip(tmp_path / "in.mp4", 24)
    command = ["serve", "pipelines.py:Tint", "--playground", "--play-port", "0", "--port", "0"]
    with served(*command, "--no-open", cwd=tmp_path, home=home) as url:
        page = tab(url)
        page.wait_for_selector(LIVE)
        lines = Lines(page, tmp_path, home)
        page.close()
        frames = re.findall("VideoFrame", lines.run("Python"))
        assert 12 < len(frames) <= 24
        lines.run("Shell")
        assert (tmp_path / "out.mp4").stat().st_size > 1000
        assert lines.texts["curl"].startswith("# Not by curl")


def test_what_a_stream_costs_is_told_before_and_while_it_plays(
    tab: Open, tmp_path: Path, home: Path
) -> None:
    shutil.copy(Path(__file__).parent / "pipelines.py", tmp_path)
    numbered_clip(tmp_path / "in.mp4", 24)
    with network("pipelines.py:Tint", "--paid", cwd=tmp_path, home=home) as it:
        page = tab(it.page)
        page.wait_for_selector("#cost:not([hidden])")
        assert "2.4e+09 wei per second" in page.inner_text("#cost")
        assert "nothing spent" in page.inner_text("#cost")
        page.wait_for_selector(".stream .placeholder:has-text('Press Start')")
        assert page.query_selector(LIVE) is None
        lines = Lines(page, tmp_path, home)
        assert lines.texts["curl"].startswith("# Not by curl")
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_selector(LIVE)
        page.get_by_label("U", exact=True).fill("230")
        until_colour(page, BLUE)
        assert re.search(r"[\d.]+e\+\d+ wei spent", page.inner_text("#cost"))
        page.close()
        assert "VideoFrame" in lines.run("Python")
        lines.run("Shell")
        assert (tmp_path / "out.mp4").stat().st_size > 1000


def test_two_tabs_and_two_streams_do_not_disturb_each_other(local: Network, tab: Open) -> None:
    first, second = tab(f"{local.page}#tint"), tab(f"{local.page}#tint")
    for page in (first, second):
        page.wait_for_selector(LIVE)
    first.get_by_label("U", exact=True).fill("230")
    until_colour(first, BLUE)
    until_colour(second, f"(colour) => colour[0] > 0 && !({BLUE})(colour)")
    # Both slots are taken: a third stream is refused, and the others go on.
    first.get_by_text("Another stream").click()
    first.wait_for_selector(".stream:nth-child(2) .pill[data-state=refused]")
    refused = first.inner_text(".stream:nth-child(2) .notice")
    assert refused == "all 2 slots are taken"
    assert first.query_selector(f".stream:nth-child(1) {LIVE.removeprefix('.stream ')}")
    second.close()
    first.wait_for_timeout(200)
    first.locator(".stream:nth-child(2)").get_by_text("Start", exact=True).click()
    first.wait_for_selector(".stream:nth-child(2) .pill[data-state=live]")
    first.close()
    assert until_free(local, 30) < 2


def test_a_tab_that_is_reloaded_plays_again(local: Network, tab: Open) -> None:
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    page.reload()
    page.wait_for_selector(LIVE)
    assert page.evaluate("() => location.hash") == "#tint"
    page.close()
    assert until_free(local, 30) < 2


def test_a_burst_of_the_result_loses_no_picture_that_others_are_made_of(
    local: Network, tab: Open
) -> None:
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    found = page.evaluate(BURST)
    assert found["left"] == 0, found
    assert found["last"] == found["sent"], found
    assert 1 <= found["shown"] <= 60


def test_another_size_is_taken_at_once_and_each_picture_is_sent_once(
    local: Network, tab: Open
) -> None:
    page = tab(f"{local.page}#tint")
    page.wait_for_selector(LIVE)
    page.evaluate(COUNT_SENT)
    for lines in ("540", "720", "360"):
        page.select_option("#input-size", lines)
    page.wait_for_function("() => document.querySelector('canvas.result-picture').height === 360")
    page.evaluate("() => { window.sent = 0; window.taken = 0; }")
    page.wait_for_function("() => window.taken >= 20")
    sent, taken = page.evaluate("() => [window.sent, window.taken]")
    assert 0 < sent <= taken + 1


def test_a_decoder_that_keeps_pictures_back_is_told_of_and_gets_them_encoded_anew(
    local: Network, tab: Open
) -> None:
    page = tab(f"{local.page}#tint")
    page.add_init_script(HOLDS)
    said: list[Any] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda sent: said.append(sent)))
    page.reload()
    page.wait_for_selector("[data-guard*='kept pictures back']")
    assert '{"type":"held"}' in said
    page.evaluate("() => { window.given = 0; }")
    page.wait_for_function("() => window.given > 40")  # over a second: encoded anew, and shown
    assert page.query_selector(LIVE)
