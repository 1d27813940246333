"""The registries that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from livepeer.runner.attach.byoc.attachment import BYOCAttachment
from livepeer.runner.attach.seat import Attachment, Listing

REGISTRIES: Mapping[str, Callable[[Listing], Attachment]] = {
    "byoc": BYOCAttachment,
}
"""By the name that `LIVEPEER_REGISTRATION` and `Registration(kind=...)` have for each."""


def chosen(kind: str) -> tuple[Callable[[Listing], Attachment], ...]:
    """The registries of one name, or all of them for `both`. Raises `ValueError`."""
    if kind == "both":
        return tuple(REGISTRIES.values())
    if kind not in REGISTRIES:
        raise ValueError(f"kind is {kind!r}: write {', '.join(REGISTRIES)} or both")
    return (REGISTRIES[kind],)
