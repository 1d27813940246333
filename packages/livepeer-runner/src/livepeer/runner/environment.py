"""Reading environment variables with errors that say what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from livepeer.runner.exceptions import SettingsError
from livepeer.runner.redaction import without_userinfo
from livepeer.runner.secret import Secret


class Environment:
    """Reads variables and collects what is wrong, so that one start reports all of it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def problem(self, name: str, what: str) -> None:
        self._problems.append(f"{name} {what}")

    def raise_problems(self) -> None:
        if self._problems:
            raise SettingsError(self._problems)

    def _find(self, *names: str) -> tuple[str, str | None]:
        for name in names:
            if value := self._environ.get(name, "").strip():
                return name, value
        return names[0], None

    def text(self, *names: str) -> str | None:
        return self._find(*names)[1]

    def listed(self, *names: str) -> tuple[str, ...]:
        value = self.text(*names) or ""
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def path(self, *names: str) -> Path | None:
        value = self.text(*names)
        return Path(value).expanduser() if value else None

    def flag(self, name: str) -> bool:
        value = (self.text(name) or "0").lower()
        if value in ("1", "true", "yes", "on"):
            return True
        if value not in ("0", "false", "no", "off"):
            self.problem(name, f"is {value!r}: write 1 or 0")
        return False

    def choice(self, name: str, default: str, *others: str) -> str:
        value = (self.text(name) or default).lower()
        if value not in (default, *others):
            self.problem(name, f"is {value!r}: write one of {', '.join((default, *others))}")
            return default
        return value

    def optional_whole(self, *names: str, low: int, high: int | None = None) -> int | None:
        name, value = self._find(*names)
        if value is None:
            return None
        try:
            number = int(value)
        except ValueError:
            hint = " (a fraction is written with LIVEPEER_PRICE_SCALING)" if "PRICE" in name else ""
            self.problem(name, f"is {value!r}: write a whole number{hint}")
            return None
        if number < low or (high is not None and number > high):
            limits = f"{low} or more" if high is None else f"{low} to {high}"
            self.problem(name, f"is {number}: write {limits}")
            return None
        return number

    def whole(self, *names: str, default: int, low: int, high: int | None = None) -> int:
        number = self.optional_whole(*names, low=low, high=high)
        return default if number is None else number

    def seconds(self, name: str, *, default: float) -> float:
        value = self.text(name)
        try:
            number = default if value is None else float(value)
        except ValueError:
            number = -1.0
        if not 0 < number < float("inf"):
            self.problem(name, f"is {value!r}: write seconds above 0")
            return default
        return number

    def optional_seconds(self, name: str) -> float | None:
        """0 or more; None where it is not set."""
        return self.optional_number(name, "seconds")

    def optional_number(self, name: str, unit: str = "a number") -> float | None:
        """0 or more; None where it is not set."""
        value = self.text(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            self.problem(name, f"is {value!r}: write {unit}, 0 or more")
            return None
        return number

    def urls(self, *names: str) -> tuple[str, ...]:
        name, _ = self._find(*names)
        urls = tuple(self._checked_url(name, part) for part in self.listed(*names))
        if len(set(urls)) < len(urls):
            self.problem(name, "names an orchestrator twice")
        return urls

    def url(self, *names: str) -> str | None:
        name, value = self._find(*names)
        return None if value is None else self._checked_url(name, value)

    def _checked_url(self, name: str, value: str) -> str:
        """The URL without a slash at its end: an orchestrator joins paths as `{url}/{route}`."""
        shown = without_userinfo(value)
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            usable = False
        if not usable:
            self.problem(name, f"has {shown!r}: write a URL such as https://orchestrator:8935")
            return value
        if parts.username or parts.password:
            self.problem(name, "has a user name or password in its URL: take it out")
        elif parts.query or parts.fragment:
            self.problem(name, f"has {shown!r}: a URL here has no query and no fragment")
        return value.rstrip("/")

    def file_lines(self, *names: str) -> tuple[str | None, list[str]]:
        name, value = self._find(*names)
        if value is None:
            return None, []
        try:
            text = Path(value).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.problem(name, f"names {value!r}, which cannot be read: {error}")
            return name, []
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            self.problem(name, f"names {value!r}, which is empty")
        return name, lines

    def one_for_each(self, name: str, lines: list[str], urls: int) -> list[Secret]:
        if len(lines) == 1:
            return [Secret(lines[0])] * urls
        if lines and len(lines) != urls:
            self.problem(name, f"has {len(lines)} lines for {urls} orchestrators: one for each")
        return [Secret(line) for line in lines]
