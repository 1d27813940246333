"""Plots as SVG: axes, lines, points, in the colours of the page around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
MANY = 30
"""Points from which they are drawn smaller."""
COLOURS = 8
"""Of lines: `--c0` to `--c7` of the page's style, then the first again."""


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right; its name stands in the legend. `dots`: no line, only points."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dots: bool = False
    titles: Sequence[str] = ()
    """Of the points, in order: what a pointer over one is told."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`; `ticks` are values with their words."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def place(self, value: float, begin: float, end: float) -> float:
        span = self.high - self.low or 1.0
        return begin + (min(max(value, self.low), self.high) - self.low) / span * (end - begin)


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot. `level`: a horizontal line with its words; `bands`: parts of the x axis, named."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    level: tuple[float, str] | None = None
    bands: Sequence[tuple[float, float, str]] = field(default_factory=tuple)

    def svg(self) -> str:
        def x(value: float) -> float:
            return self.x.place(value, LEFT, WIDTH - RIGHT)

        def y(value: float) -> float:
            return self.y.place(value, HEIGHT - BOTTOM, TOP)

        parts = [
            f'<figure><figcaption>{escape(self.title)}</figcaption><svg role="img" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{escape(self.title)}">'
        ]
        for number, (begin, end, name) in enumerate(self.bands):
            left, right = x(begin), x(end)
            shade = ' class="band"' if number % 2 else ' class="gap"'
            parts.append(
                f'<rect{shade} x="{left:.1f}" y="{TOP}" width="{max(0, right - left):.1f}" '
                f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(name)}</title></rect>'
            )
        parts += self._axes(x, y)
        if self.level is not None:
            at = y(self.level[0])
            parts.append(
                f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                f'y2="{at:.1f}"/><text class="level" x="{WIDTH - RIGHT - 4}" y="{at - 5:.1f}" '
                f'text-anchor="end">{escape(self.level[1])}</text>'
            )
        for line in self.lines:
            parts += _drawn(line, x, y)
        parts.append("</svg>")
        if named := [line for line in self.lines if line.name]:
            parts.append(
                '<p class="legend">'
                + "".join(
                    f'<span><i class="c{line.colour % COLOURS}"></i>{escape(line.name)}</span>'
                    for line in named
                )
                + "</p>"
            )
        return "".join(parts) + "</figure>"

    def _axes(self, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
        parts = []
        for value, words in self.y.ticks:
            at = y(value)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                f'y2="{at:.1f}"/><text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
                f"{escape(words)}</text>"
            )
        for value, words in self.x.ticks:
            parts.append(
                f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                f"{escape(words)}</text>"
            )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
            f'text-anchor="middle">{escape(self.x.title)}</text>'
            f'<text class="axis" x="14" y="{middle}" text-anchor="middle" '
            f'transform="rotate(-90 14 {middle})">{escape(self.y.title)}</text>'
        )
        return parts


def _drawn(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> list[str]:
    colour = line.colour % COLOURS
    places = [(x(a), y(b)) for a, b in line.points]
    parts = []
    if not line.dots and len(places) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline class="s{colour}" points="{path}"/>')
    if line.dots or len(places) == 1:
        titles = [*line.titles, *[""] * len(places)]
        radius = 4 if len(places) < MANY else 2
        parts += [
            f'<circle class="f{colour}" cx="{a:.1f}" cy="{b:.1f}" r="{radius}">'
            f"<title>{escape(title)}</title></circle>"
            for (a, b), title in zip(places, titles, strict=False)
        ]
    return parts


def linear(title: str, values: Sequence[float], unit: str = "", *, most: int = 6) -> Axis:
    """From 0 to beyond the largest of the values, with round ticks."""
    high = max((value for value in values if math.isfinite(value)), default=0.0) or 1.0
    rough = high / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * 0.999)
    ticks = [step * place for place in range(math.ceil(high / step - 1e-9) + 1)]
    return Axis(title, 0.0, ticks[-1], [(value, f"{value:g}{unit}") for value in ticks])
