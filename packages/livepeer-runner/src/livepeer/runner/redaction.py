"""Secrets taken out of texts that others see: a peer that has one may send it back in any form."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from livepeer.runner.secret import Secret

MASK = "***"
# What is shorter stands in too many texts by chance to be taken out, and is no secret anyway.
_SHORTEST = 4
_SHORTEST_IN_LOGS = 8
_SCHEME = re.compile(r"(?:[A-Za-z][\w+.-]*:?/{1,2})?")


class Redactor:
    """Replaces secrets by `***`, as they are and as they are commonly encoded."""

    def __init__(self, secrets: Iterable[Secret] = (), *, shortest: int = _SHORTEST) -> None:
        self._shortest = shortest
        self._forms: tuple[str, ...] = ()
        self.add(*secrets)

    def add(self, *secrets: Secret) -> None:
        forms = {
            form
            for secret in secrets
            for form in _forms(secret.reveal())
            if len(form) >= self._shortest
        }
        # The longest first: one may hold another.
        self._forms = tuple(sorted(forms.union(self._forms), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    encoded = base64.b64encode(raw).decode().rstrip("=")
    return {
        secret,
        quote(secret, safe="", errors="replace"),
        quote(secret, errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        encoded,
        encoded.replace("+", "-").replace("/", "_"),
        raw.hex(),
    }


def without_userinfo(url: str) -> str:
    """A URL, or what was meant as one, without the name and password that it may hold."""
    before, at, rest = url.rpartition("@")
    scheme = _SCHEME.match(before)
    return f"{scheme[0] if scheme else ''}{MASK}@{rest}" if at else url


everywhere = Redactor(shortest=_SHORTEST_IN_LOGS)
"""What no line of the log may hold: everything that this process knows to be secret."""
