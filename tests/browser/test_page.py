"""The page as such: reload of the pipeline, failures, who may use it, and for whom it works."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from .conftest import NUMBER, Network, Open, network, served

pytestmark = pytest.mark.browser
LIVE = ".stream .pill[data-state=live]"

GREETER = """
from livepeer.runner import Pipeline
class Greeter(Pipeline):
    def predict(self, name: str = "Ada", times: int = 1) -> str:
        return "GREETING " + name
"""
TINT = """
from pydantic import BaseModel
from livepeer.runner import LivePipeline, VideoFrame
class Params(BaseModel):
    u: int = UUU
class Tint(LivePipeline):
    params: Params
    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        frame.planes[2][:] = 128
        return frame
"""


def test_a_saved_file_is_seen_and_a_broken_one_shows_its_traceback(
    tab: Open, tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text(GREETER.replace("GREETING", "Hello,"))
    with network("pipeline.py", cwd=tmp_path, home=home) as it:
        page = tab(it.page)
        page.wait_for_selector("form")
        page.get_by_label("Name").fill("Grace")
        file.write_text(GREETER + "\nraise ValueError('not today')\n")
        page.wait_for_selector(".trouble pre")
        trace = page.inner_text(".trouble pre")
        assert "Traceback" in trace and "not today" in trace
        page.get_by_role("button", name="Run", exact=True).click()  # the one before goes on
        page.wait_for_function(
            "() => document.querySelector('.result').textContent.includes('Hello')"
        )
        file.write_text(GREETER.replace("GREETING", "Good day,").replace("times: int", "loud: int"))
        page.wait_for_selector("[data-field=loud]")
        assert page.query_selector(".trouble") is None
        assert page.get_by_label("Name").input_value() == "Grace"  # what was written stays
        page.get_by_role("button", name="Run", exact=True).click()
        page.wait_for_function(
            "() => document.querySelector('.result').textContent.includes('Good day, Grace')"
        )
        page.close()


def test_a_live_stream_goes_on_with_the_version_that_was_saved(
    tab: Open, tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text(TINT.replace("UUU", "40"))
    with network("pipeline.py", cwd=tmp_path, home=home) as it:
        page = tab(it.page)
        page.wait_for_selector(LIVE)
        file.write_text(TINT.replace("UUU", "230"))
        it.wait_for("of tint started", 2)
        page.wait_for_function(
            f"() => {{ const [r, g, b] = ({NUMBER})().colour; return b > r + 60; }}"
        )
        page.wait_for_selector("#state[data-state=serving]")
        page.wait_for_selector(LIVE)
        page.close()


def test_a_pipeline_that_never_loaded_shows_why_and_plays_when_it_is_mended(
    tab: Open, tmp_path: Path, home: Path
) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text(TINT.replace("UUU", "(40"))
    with network("pipeline.py", cwd=tmp_path, home=home, ready="starts again when") as it:
        page = tab(it.page)
        page.wait_for_selector(".trouble pre")
        assert "SyntaxError" in page.inner_text(".trouble pre")
        file.write_text(TINT.replace("UUU", "40") + "    def setup(self):\n        1 / 0\n")
        page.wait_for_function(
            "() => document.querySelector('.trouble pre')?.textContent.includes('1 / 0')"
        )
        file.write_text(TINT.replace("UUU", "40"))
        page.wait_for_selector(LIVE)
        page.close()


class _Evil(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The page of somebody else on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_page_of_somebody_else_can_do_nothing_even_with_the_token(
    local: Network, browser: Any, elsewhere: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(elsewhere)
        address = local.page
        socket = page.evaluate(
            """(url) => new Promise((done) => {
              const socket = new WebSocket(url.replace("http", "ws") + "live/0");
              socket.onopen = () => done("open");
              socket.onerror = () => done("refused");
            })""",
            address,
        )
        assert socket == "refused"
        for path, method in (("api/call/1", "POST"), ("api/lines/1", "POST"), ("api/news", "GET")):
            answer = page.evaluate(
                "([url, method]) => fetch(url, {method}).then((a) => a.status, () => 'refused')",
                [address + path, method],
            )
            assert answer == "refused"
        framed = page.evaluate(
            """(url) => new Promise((done) => {
              const frame = document.body.appendChild(document.createElement("iframe"));
              frame.onload = () => done(frame.contentDocument ? "same" : "blocked");
              frame.src = url;
            })""",
            address,
        )
        assert framed == "blocked"


SERIOUS = """
async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .filter((each) => ["serious", "critical"].includes(each.impact))
  .map(({ id, nodes }) => [id, ...nodes.map((node) => node.html + node.failureSummary)].join(" "))
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["tint", "forms", "spell"])
def test_nobody_is_kept_out_by_how_it_is_made(
    local: Network, tab: Open, name: str, scheme: str
) -> None:
    page = tab(f"{local.page}#{name}", color_scheme=scheme)
    page.wait_for_selector(LIVE if name == "tint" else "form")
    if name != "tint":
        page.get_by_role("button", name="Run", exact=True).click()
        page.wait_for_selector(".result .text, .result dl")
    page.evaluate((Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text())
    assert page.evaluate(SERIOUS) == []


def test_a_phones_width_is_enough(local: Network, tab: Open) -> None:
    for name in ("tint", "forms"):
        page = tab(f"{local.page}#{name}", viewport={"width": 390, "height": 844})
        page.wait_for_selector(LIVE if name == "tint" else "form")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        page.set_viewport_size({"width": 360, "height": 740})
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_a_browser_without_webcodecs_is_told_what_to_do(local: Network, browser: Any) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script("delete window.VideoEncoder; delete window.VideoDecoder;")
        page.goto(f"{local.page}#tint")
        page.wait_for_selector(".beside .notice")
        notice = page.locator(".beside .notice").all_inner_texts()
        assert any("no VideoEncoder" in each and "command below" in each for each in notice)
        page.wait_for_selector("#code-panel")


def test_another_host_without_https_is_told_why_there_is_no_camera(
    browser: Any, tmp_path: Path, home: Path
) -> None:
    address = socket.gethostname().lower()
    try:
        socket.getaddrinfo(address, None, socket.AF_INET)
    except OSError:
        pytest.skip("this machine has no name that leads to it")
    (tmp_path / "pipeline.py").write_text(TINT.replace("UUU", "40"))
    command = ["serve", "--playground", "--play-host", "0.0.0.0", "--play-port", "0"]
    with served(*command, "--port", "0", "--no-open", cwd=tmp_path, home=home) as url:
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(url.replace("127.0.0.1", address))
            page.wait_for_selector(".side .notice")
            assert address in page.locator(".side .notice").first.inner_text()
            assert page.is_disabled("#source-camera")
            assert "WebCodecs" in page.inner_text(".beside .notice")
            # On this machine the same page plays, by the container itself.
            page.goto(url)
            page.wait_for_selector(LIVE)


def test_everything_can_be_reached_by_keyboard(local: Network, tab: Open) -> None:
    page = tab(f"{local.page}#forms")
    page.wait_for_selector("form")
    page.wait_for_selector("#code-panel")
    page.evaluate(
        """() => {
          const all = [...document.querySelectorAll("button, input, select, textarea")];
          all.filter((each) => !each.disabled && each.checkVisibility() && each.tabIndex >= 0)
            .filter((each) => each.type !== "radio")
            .forEach((each, i) => { each.dataset.number = i; });
        }"""
    )
    wanted = page.locator("[data-number]").count()
    reached = set()
    for _ in range(3 * wanted):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.dataset.number"))
    assert len(reached - {None}) == wanted


def test_a_live_page_is_used_by_keyboard_alone_and_nothing_moves_for_who_wants_that(
    local: Network, tab: Open
) -> None:
    page = tab(f"{local.page}#tint", reduced_motion="reduce")
    page.wait_for_selector(LIVE)

    def focused(wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
                return
        pytest.fail(f"Tab never comes to {wanted}")

    focused("[role=tab]")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("[role=tab][aria-selected=true]") == "curl"
    focused(".stream .bar button")  # it runs: Stop
    page.keyboard.press("Enter")
    page.wait_for_selector(".stream .pill[data-state=stopped]")
    page.keyboard.press("Space")
    page.wait_for_selector(LIVE)
    focused("[data-field=u] input[type=range]")
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("U, exactly").input_value() == "129"
    focused("[data-field=mirror] [role=switch]")
    page.keyboard.press("Space")
    assert page.get_by_role("switch", name="Mirror").is_checked()
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((each) => {
          const { transitionDuration, animationName } = getComputedStyle(each);
          return animationName !== "none" || parseFloat(transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
