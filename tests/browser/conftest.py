"""A real Chromium, and `livepeer dev` with the pipelines of these tests."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from livepeer.trickle.media import AudioFrame, VideoFrame, encode

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
STRICT = os.environ.get("LIVEPEER_BROWSER_STRICT") == "1"
LIMIT = 60.0
HERE = Path(__file__).parent
LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
WIDTH, HEIGHT, FPS = 640, 360, 15
BITS = 8
"""Squares in the upper half of a picture: its number, the highest bit first."""


def numbered(number: int) -> VideoFrame:
    """A picture that shows its number in black and white squares, which no tint changes."""
    pixels = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    wide = WIDTH // BITS
    for bit in range(BITS):
        on = number >> (BITS - 1 - bit) & 1
        pixels[: HEIGHT // 2, bit * wide : (bit + 1) * wide] = 225 if on else 25
    return VideoFrame.from_ndarray(pixels, time=Fraction(number, FPS))


NUMBER = """
() => {
  const canvas = document.querySelector("canvas.result-picture");
  const paint = canvas.getContext("2d");
  const [width, height] = [canvas.width, canvas.height];
  let number = 0;
  for (let bit = 0; bit < 8; bit += 1) {
    const [r, g, b] = paint.getImageData((bit + 0.5) * width / 8, height / 4, 1, 1).data;
    number = number * 2 + (0.299 * r + 0.587 * g + 0.114 * b > 125 ? 1 : 0);
  }
  const [r, g, b] = paint.getImageData(width / 2, height * 0.75, 1, 1).data;
  return { number, colour: [r, g, b], width, height };
}
"""
"""Read from the canvas: the number of the picture, and the colour below it."""


@pytest.fixture(scope="session")
def chromium() -> str:
    if CHROMIUM is None:
        reason = "there is no chromium: scripts/test-browser installs it on Debian"
        pytest.fail(reason) if STRICT else pytest.skip(reason)
    return CHROMIUM


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake camera sees: numbered pictures, raw."""
    path = tmp_path_factory.mktemp("camera") / "numbers.y4m"
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n".encode())
        for number in range(60):
            file.write(b"FRAME\n")
            for plane in numbered(number).planes:
                file.write(np.ascontiguousarray(plane).tobytes())
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of numbered pictures with a tone of 440 Hz."""
    return numbered_clip(tmp_path_factory.mktemp("clip") / "numbers.mp4", 60)


def numbered_clip(path: Path, count: int) -> Path:
    each = 48_000 // FPS

    def frames() -> Iterator[VideoFrame | AudioFrame]:
        for number in range(count):
            yield numbered(number)
            at = (np.arange(each) + number * each) / 48_000
            wave = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
            yield AudioFrame.from_ndarray(wave[None], rate=48_000, time=Fraction(number, FPS))

    encode(frames(), path, format="mp4")
    return path


@pytest.fixture(scope="session")
def browser(chromium: str, camera: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [*FLAGS, f"--use-file-for-fake-video-capture={camera}"]
        with playwright.chromium.launch(executable_path=chromium, args=flags) as launched:
            yield launched


class Network:
    """`livepeer dev`, its page and its words."""

    def __init__(self, process: subprocess.Popen[str], ready: str) -> None:
        self._lines: list[str] = []
        self._told = threading.Condition()
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        # In either order: a pipeline may fail before the page is there.
        self.wait_for(ready)
        found = re.search(r"playground:? +(\S+)$", self.wait_for("playground"), re.M)
        assert found is not None
        self.page = found[1]

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def container(self, capability: str) -> str:
        """Where a pipeline is served."""
        found = re.search(rf"^{capability} runs on.*?^  pipeline +(\S+)", self.text, re.M | re.S)
        assert found is not None, self.text
        return found[1]

    def wait_for(self, part: str, count: int = 1) -> str:
        deadline = time.monotonic() + LIMIT
        with self._told:
            while self.text.count(part) < count:
                if not self._told.wait(max(0.0, deadline - time.monotonic())):
                    pytest.fail(f"no {part!r} in:\n{self.text}")
        return self.text

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._told:
                self._lines.append(line)
                self._told.notify_all()

    def read_all(self) -> None:
        """Of a process that has ended: its pipe may be closed then."""
        self._reader.join(LIMIT)


@contextmanager
def network(
    *words: str, cwd: Path, home: Path, ready: str = "Ctrl-C ends it all"
) -> Iterator[Network]:
    """`livepeer dev` with `words`."""
    kinds = ("port", "orch-port", "gateway-port", "play-port")
    ports = [word for each in kinds for word in (f"--{each}", "0")]
    environment = {name: value for name, value in os.environ.items() if "LIVEPEER" not in name}
    user = {"PYTHONUNBUFFERED": "1", "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with subprocess.Popen(
        [*LIVEPEER, "dev", *words, *ports, "--no-open"],
        cwd=cwd,
        env={**environment, **user},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            it = Network(process, ready)
            yield it
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 0
            it.read_all()
        finally:
            process.kill()


@contextmanager
def served(*arguments: str, cwd: Path, home: Path) -> Iterator[str]:
    """A command that prints its page's address; ended by Ctrl-C, with 0."""
    environment = {name: value for name, value in os.environ.items() if "LIVEPEER" not in name}
    user = {"PYTHONUNBUFFERED": "1", "HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with subprocess.Popen(
        [*LIVEPEER, *arguments],
        cwd=cwd,
        env={**environment, **user},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"playground: (\S+)", process.stdout.readline())
            assert found is not None
            yield found[1]
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT) == 0
        finally:
            process.kill()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own settings, who is nobody that uses this machine."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory, home: Path, chromium: str) -> Iterator[Network]:
    """The network of all tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("pipelines")
    shutil.copy(HERE / "pipelines.py", folder)
    names = ("Tint", "Forms", "Spell", "Hum")
    with network(*(f"pipelines.py:{each}" for each in names), cwd=folder, home=home) as it:
        it.wait_for("runs on a local network", len(names))
        yield it


class Lines:
    """The lines of code that a page shows, and what comes of each as it is shown."""

    def __init__(self, page: Any, folder: Path, home: Path) -> None:
        self.folder = folder
        page.wait_for_selector("#code-panel")
        self.texts: dict[str, str] = {}
        for tab in page.get_by_role("tab").all():
            tab.click()
            self.texts[tab.inner_text()] = page.inner_text("#code-panel")
        command = folder / "livepeer"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{LIVEPEER[-1]}" "$@"\n')
        command.chmod(0o755)
        path = f"{folder}:/usr/bin:/bin"
        self._environment = {"PATH": path, "HOME": str(home), "XDG_CONFIG_HOME": str(home)}

    def run(self, title: str) -> str:
        """What it prints; it ends with 0."""
        program = ["sh", "-c", self.texts[title]]
        if title == "Python":
            (self.folder / "call.py").write_text(self.texts[title])
            program = [sys.executable, "call.py"]
        done = subprocess.run(
            program,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


Open = Callable[..., Any]


@pytest.fixture
def tab(browser: Any) -> Iterator[Open]:
    """`tab(url, **options)`: a page in a context of its own, which may have no error in its log."""
    contexts: list[Any] = []
    errors: list[str] = []

    def opened(url: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(LIMIT * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    expected = ("status of 4", "status of 5")
    assert not [each for each in errors if not any(part in each for part in expected)]
