"""Live parameters that a pipeline does not have: refused here, where its schema is known already.

A container refuses them too, in the same words; by a gateway nobody hears that of a start.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from livepeer.client.exceptions import InvalidInputError
from livepeer.client.schema.parts import SchemaParts
from livepeer.client.schema.schema import Schema
from livepeer.client.types import FieldError
from livepeer.trickle.text import printable

MOST: Final = 20
"""Names that are told, how deep they are looked for, and letters of one."""
DEEPEST: Final = 64
LONGEST: Final = 64


def check(schema: Schema, params: Mapping[str, Any], *, capability: str) -> None:
    """Raise `InvalidInputError` with the names that the schema leaves no room for."""
    found = _unknown(SchemaParts(schema.input), schema.input, params, ())
    if fields := list(islice(found, MOST)):
        told = "; ".join(map(str, fields))
        raise InvalidInputError(
            f"the parameters do not fit {capability!r}: {told}",
            fields=fields,
            capability=capability,
        )


def _unknown(
    parts: SchemaParts, schema: Any, value: Any, path: tuple[str, ...]
) -> Iterator[FieldError]:
    if not isinstance(value, Mapping) or len(path) > DEEPEST:
        return
    part = parts.of(schema)
    known = part.get("properties")
    if not isinstance(known, Mapping):
        return
    for key, inner in value.items():
        if key in known:
            yield from _unknown(parts, known[key], inner, (*path, key))
        elif part.get("additionalProperties") is False and "patternProperties" not in part:
            name = printable(str(key), LONGEST)
            yield FieldError(".".join((*path, name)), _meant(name, known))


def _meant(name: str, known: Mapping[str, Any]) -> str:
    names = sorted(map(str, islice(known, 10 * MOST)))
    if near := difflib.get_close_matches(name, names, n=1):
        hint = f": did you mean {printable(near[0], LONGEST)!r}?"
    elif shown := [printable(each, LONGEST) for each in names[:MOST]]:
        hint = f": there {'is' if len(shown) == 1 else 'are'} {', '.join(shown)}"
    else:
        hint = ""
    return f"there is no such parameter{hint}"
