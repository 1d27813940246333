"""Fetching the files that a caller gave as URLs: after validation, before `predict` runs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel

from livepeer.runner.author.files import File
from livepeer.runner.exceptions import FetchError, FileError
from livepeer.runner.redaction import without_userinfo

_PARALLEL = 4
MOST_FILES = 100
"""Files of one request that are given as URLs."""

Location = tuple[str | int, ...]


async def resolve(
    value: Any, *, max_bytes: int, timeout: float, allow_private: bool = False
) -> None:
    """Fetch every file in `value` (a validated input) that is still a URL.

    `max_bytes` and `timeout` (seconds) are for all of them together. `allow_private`: also from
    loopback, private and link-local addresses. Raises `FetchError` (its `.location` is the path of
    the field) where one cannot be had; the others are then abandoned.
    """
    # A large input is walked by the side: its elements are many, though none may be a file.
    pending = await asyncio.to_thread(list, islice(unfetched(value), MOST_FILES + 1))
    if not pending:
        return
    if len(pending) > MOST_FILES:
        raise FetchError(f"over {MOST_FILES} files are to be fetched", location=pending[-1][1])
    from livepeer.runner.http.public_http import PublicClient

    places = asyncio.Semaphore(_PARALLEL)

    async def one(file: File, location: Location) -> None:
        async with places:
            try:
                file.fill(*await client.get(file.url or ""))
            except FileError as error:
                raise FetchError(f"{_shown(file)}: {error}", location=location) from error

    try:
        async with (
            PublicClient(max_bytes=max_bytes, allow_private=allow_private) as client,
            asyncio.timeout(timeout),
            asyncio.TaskGroup() as group,
        ):
            for file, location in pending:
                group.create_task(one(file, location))
    except TimeoutError as error:
        file, location = next((found for found in pending if not found[0].is_fetched), pending[0])
        raise FetchError(f"{_shown(file)}: took over {timeout:g} s", location=location) from error
    except ExceptionGroup as errors:
        # The group's tasks raise nothing else; the first to fail has cancelled the others.
        raise errors.exceptions[0] from None


def _shown(file: File) -> str:
    url = without_userinfo(file.url or "")
    return url if len(url) <= 200 else url[:200] + "…"


def unfetched(value: Any, location: Location = ()) -> Iterator[tuple[File, Location]]:
    """Every file below `value` that is still a URL, and the path to it."""
    if isinstance(value, File):
        if not value.is_fetched:
            yield value, location
    elif isinstance(value, BaseModel):
        fields = type(value).model_fields
        for name, child in value:
            alias = fields[name].alias if name in fields else None
            yield from unfetched(child, (*location, alias or name))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from unfetched(getattr(value, field.name), (*location, field.name))
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from unfetched(child, (*location, str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, child in enumerate(value):
            yield from unfetched(child, (*location, index))
