"""What the public is told of a runner, in the 1,024 bytes that the registry has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

MOST_BYTES = 1024
"""go-livepeer: a heartbeat with more is 400."""


def metadata(told: Mapping[str, str]) -> str:
    """A JSON object of it; what comes last is left out first where it is too long."""
    kept = {key: value.replace("\ufffd", "?") for key, value in told.items()}
    while kept:
        text = json.dumps(kept, ensure_ascii=True, separators=(",", ":"))
        if len(text) <= MOST_BYTES:
            return text
        kept.popitem()
    return ""
