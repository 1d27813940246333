"""The playground in a real browser: how soon it plays, how late it is, and whether it grows.

    python benchmarks/playground.py [--seconds 60] [--size 720]

`livepeer dev` of examples/live_tint and a headless Chromium that runs already. The page's own test
picture goes in, 30 a second; figures are those that the page shows, read once a second, and counts
of what its codecs were given. Growth is that of the page's JavaScript heap and of the resident
memory of `livepeer dev` (page's server and local network), from the end of the first tenth to the
end; `--seconds 600` is what the claim is.

The limit: behind it, the same browser encodes and decodes the same pictures onto a canvas, with the
same settings, 30 a second beside the input's own `<video>`; nothing of Livepeer is in between. CPU
is that of each process, for a picture that was sent. Both hold on a busy machine as well.

`--screenshot FILE` keeps a picture of the page at the end. CHROMIUM names the browser. Exit
status 1 where nothing is played.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
PORTS = [
    w for each in ("port", "orch-port", "gateway-port", "play-port") for w in (f"--{each}", "0")
]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    "--enable-precise-memory-info",
)
LOOK = """
() => {
  const of = (name) => document.querySelector(`.figure[data-figure="${name}"]`).dataset;
  return {
    rate: Number(of("Pictures").value), p50: Number(of("Latency").value),
    p95: Number(of("Latency").p95), heap: performance.memory.usedJSHeapSize,
  };
}
"""
LIMIT = """
async ([lines, seconds]) => {
  const page = (name) => import(new URL(name, location.href));
  const [{ openPattern }, { Uplink }, { Downlink }, { Guards }, { unpack }] = await Promise.all(
    ["source.js", "uplink.js", "downlink.js", "figures.js", "units.js"].map(page));
  const source = await openPattern();
  const canvas = document.createElement("canvas");
  document.body.replaceChildren(source.video, canvas);
  canvas.style.width = source.video.style.width = "600px";
  const guards = new Guards(), late = [];
  let shown = 0;
  const downlink = new Downlink(canvas, guards, (time) => {
    shown += 1;
    late.push(performance.now() - time / 1000);
  }, (message) => { throw new Error(message); }, () => {}, () => uplink.wantKey());
  const uplink = new Uplink();
  uplink.most = Number(lines);
  uplink.follow(source.video);
  uplink.feed({
    guards, waiting: 0, get behind() { return downlink.behind; },
    picture: (message) => downlink.decode(unpack(message.buffer)),
    failed: (message) => { throw new Error(message); },
  });
  await new Promise((done) => setTimeout(done, 2000));
  late.length = shown = 0;
  window.limitBegins();
  window.counts.encoded = 0;
  await new Promise((done) => setTimeout(done, 1000 * seconds));
  uplink.leave();
  downlink.close();
  source.stop();
  late.sort((a, b) => a - b);
  const at = (share) => late[Math.floor(share * (late.length - 1))];
  return { shown, encoded: window.counts.encoded, p50: at(0.5), p95: at(0.95) };
}
"""
"""The page's own encoder and decoder, one behind the other."""
COUNTS = """
() => {
  window.counts = { encoded: 0, decoded: 0, shown: 0 };
  const counted = (of, method, name) => {
    const original = of[method];
    of[method] = function (...given) {
      window.counts[name] += 1;
      return original.apply(this, given);
    };
  };
  counted(VideoEncoder.prototype, "encode", "encoded");
  counted(VideoDecoder.prototype, "decode", "decoded");
  const paint = CanvasRenderingContext2D.prototype;
  const draw = paint.drawImage;
  paint.drawImage = function (image, ...given) {
    if (image instanceof VideoFrame) window.counts.shown += 1;
    return draw.call(this, image, ...given);
  };
}
"""
PLAYS = "() => document.querySelector('.figure[data-figure=Latency]')?.dataset.value > 0"
SLIDER = """
async () => {
  const slider = document.querySelector("[data-field=u] input[type=range]");
  const canvas = document.querySelector("canvas.result-picture");
  const paint = canvas.getContext("2d");
  const found = [];
  for (const value of [230, 128, 230, 128, 230]) {
    await new Promise((done) => setTimeout(done, 700));
    const began = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    for (;;) {
      const [r, g, b] = paint.getImageData(canvas.width / 2, canvas.height * 0.9, 1, 1).data;
      if ((b > r + 50) === (value === 230)) break;
      await new Promise(requestAnimationFrame);
    }
    found.push(performance.now() - began);
  }
  return found.sort((a, b) => a - b)[2];
}
"""
"""Milliseconds from a slider to the pixels of the result, the middle of five."""
FIRST = """
() => {
  const canvas = document.querySelector("canvas.result-picture");
  if (!canvas || document.querySelector(".stream .pill").dataset.state !== "live") return false;
  return canvas.getContext("2d").getImageData(canvas.width / 2, 8, 1, 1).data[0] > 20;
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", default="720")
    parser.add_argument("--screenshot", metavar="FILE", type=Path)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium: apt-get install chromium, or say CHROMIUM=path")
    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium, args=list(FLAGS)) as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(f"({COUNTS.strip()})()")
            began = time.monotonic()
            command = [*LIVEPEER, "dev", "examples/live_tint/pipeline.py", "--no-open", *PORTS]
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                try:
                    return _measured(page, process, began, arguments)
                finally:
                    process.terminate()
                    process.wait(30)


def _measured(page: Any, process: subprocess.Popen[str], began: float, arguments: Any) -> int:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"playground (\S+)", line):
            break
    else:
        return 1
    page.goto(found[1])
    page.wait_for_function(FIRST, polling=10)
    first = time.monotonic() - began
    page.select_option("#input-size", arguments.size)
    page.wait_for_function(PLAYS)
    page.wait_for_timeout(3000)
    server = psutil.Process(process.pid)
    looks, memory = [], []
    page.evaluate("() => { for (const each in counts) counts[each] = 0; }")
    used = cpu(process.pid)
    until = time.monotonic() + arguments.seconds
    while time.monotonic() < until:
        page.wait_for_timeout(1000)
        looks.append(page.evaluate(LOOK))
        memory.append(server.memory_info().rss)
    counts = page.evaluate("() => ({ ...counts })")
    used = {name: now - used.get(name, 0.0) for name, now in cpu(process.pid).items()}
    slider = page.evaluate(SLIDER)
    if arguments.screenshot is not None:
        page.emulate_media(color_scheme="dark")
        page.screenshot(path=arguments.screenshot)
    tenth = max(1, len(looks) // 10)
    heap = [each["heap"] for each in looks]
    middle = statistics.median
    left_out = page.evaluate("() => document.querySelector('.guards').innerText")
    sent = max(1, counts["encoded"])
    limit, limit_used = _limit(page, process.pid, arguments)
    p50, p95 = (middle(each[name] for each in looks) for name in ("p50", "p95"))
    rows = {
        "from `livepeer dev` to the first picture": f"{first:.2f} s",
        "pictures in a second": f"{middle(each['rate'] for each in looks):.1f}",
        "pictures encoded, decoded, shown": " ".join(str(each) for each in counts.values()),
        "latency in the page, p50": f"{p50:.1f} ms",
        "latency in the page, p95": f"{p95:.1f} ms",
        "the browser alone: p50, p95": f"{limit['p50']:.1f}, {limit['p95']:.1f} ms",
        "latency, ratio to the browser alone": (
            f"{p50 / limit['p50']:.1f}, {p95 / limit['p95']:.1f}"
        ),
        **{
            f"CPU of a picture: {name}": f"{1000 * each / sent:.1f} ms"
            for name, each in used.items()
        },
        "CPU of a picture: all of it": f"{1000 * sum(used.values()) / sent:.1f} ms",
        "CPU of a picture: the browser alone": f"{1000 * limit_used / limit['encoded']:.1f} ms",
        "from a slider to the pixels (debounce 50 ms)": f"{slider:.0f} ms",
        "JavaScript heap, first tenth to last": _growth(heap, tenth),
        "memory of `livepeer dev`, first tenth to last": _growth(memory, tenth),
        "left out": left_out.replace("\n", "; ") or "nothing",
        "load of the machine": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    }
    print(f"{arguments.size}p30, live_tint, {arguments.seconds:g} s\n")
    for name, value in rows.items():
        print(f"{name:<52}{value}")
    return 0


def _limit(page: Any, server: int, arguments: Any) -> tuple[dict[str, float], float]:
    """What the browser shows where it feeds itself, and the CPU seconds that it takes to."""
    begun: list[dict[str, float]] = []
    page.expose_function("limitBegins", lambda: begun.append(cpu(server)))
    # An empty page beside the playground's files: no stream is open.
    page.route(
        "**/limit.html",
        lambda route: route.fulfill(body="<!doctype html><body>", content_type="text/html"),
    )
    page.goto(page.evaluate("() => new URL('limit.html', location.href).href"))
    limit = page.evaluate(LIMIT, [arguments.size, min(20.0, arguments.seconds)])
    ended = cpu(server)
    return limit, sum(
        ended[name] - begun[0].get(name, 0.0) for name in ended if name.startswith("browser")
    )


def cpu(server: int) -> dict[str, float]:
    """CPU seconds so far: of each kind of the browser's processes, the local network's process, and
    the pipeline's."""
    found: dict[str, float] = {}
    mine = psutil.Process().children(recursive=True)
    for process in mine:
        try:
            words, times = process.cmdline(), process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        if process.pid == server:
            name = "page's server and network"
        elif "livepeer.runner.cli.child" in words:
            name = "pipeline"
        elif kind := next((each[7:] for each in words if each.startswith("--type=")), ""):
            name = f"browser, {kind}"
        elif any("chrom" in each for each in words[:1]):
            name = "browser, main"
        else:
            continue
        found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def _growth(values: list[int], tenth: int) -> str:
    before = statistics.median(values[tenth : 2 * tenth] or values)
    after = statistics.median(values[-tenth:])
    return f"{before / 2**20:.1f} to {after / 2**20:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
