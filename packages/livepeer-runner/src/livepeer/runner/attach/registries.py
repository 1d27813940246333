"""The registries that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from livepeer.runner.attach.byoc.attachment import BYOCAttachment
from livepeer.runner.attach.live_runner.attachment import LiveRunnerAttachment
from livepeer.runner.attach.seat import Attachment, Listing
from livepeer.runner.settings import RegistrationKind

REGISTRIES: Mapping[str, Callable[[Listing], Attachment]] = {
    "byoc": BYOCAttachment,
    "live-runner": LiveRunnerAttachment,
}
"""By the name that `LIVEPEER_REGISTRATION` and `Registration(kind=...)` have for each."""


def chosen(kind: RegistrationKind) -> tuple[Callable[[Listing], Attachment], ...]:
    """The registries of one name, or all of them for `both`. Raises `ValueError`."""
    if kind == "both":
        return tuple(REGISTRIES.values())
    if kind not in REGISTRIES:
        raise ValueError(f"kind is {kind!r}: write {', '.join(REGISTRIES)} or both")
    return (REGISTRIES[kind],)
