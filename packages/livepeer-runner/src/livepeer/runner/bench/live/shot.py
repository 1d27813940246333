"""What a measured stream is fed with: size, rate, tracks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

LEAST_WIDTH, LEAST_HEIGHT = 160, 90


@dataclass(frozen=True, slots=True)
class Shot:
    """What a camera takes. `pictures` and `sound` say which tracks there are; `clip` is the name of
    the file that they are of, if any; `clicks`, whether its sound has the clicks."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0
    pictures: bool = True
    sound: bool = True
    clip: str = ""
    clicks: bool = True

    def __post_init__(self) -> None:
        """Raises `ValueError` for what no encoder takes, or whose number could not be read."""
        if not (LEAST_WIDTH <= self.width <= 7680 and LEAST_HEIGHT <= self.height <= 4320):
            raise ValueError(
                f"{self.width}x{self.height}: pictures have {LEAST_WIDTH}x{LEAST_HEIGHT} to "
                "7680x4320 pixels, so that their numbers can be read"
            )
        if self.width % 2 or self.height % 2:
            raise ValueError(f"{self.width}x{self.height}: 4:2:0 video has even sizes only")
        if not 1 <= self.fps <= 240:
            raise ValueError(f"{self.fps:g}: a camera takes 1 to 240 pictures a second")

    @property
    def rate(self) -> Fraction:
        """Pictures a second, exact: 29.97 is 30000/1001."""
        whole = Fraction(self.fps).limit_denominator(1)
        ntsc = Fraction(round(self.fps * 1.001) * 1000, 1001)
        return ntsc if abs(float(ntsc) - self.fps) < abs(float(whole) - self.fps) else whole

    def __str__(self) -> str:
        kind = f"{self.width}x{self.height}@{self.fps:g}" if self.pictures else "sound"
        return f"{kind} of {self.clip}" if self.clip else kind
