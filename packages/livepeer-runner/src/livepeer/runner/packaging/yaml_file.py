"""YAML as a person writes it, with the place of each value: no anchors, no key twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

DEEPEST = 16


class Place(NamedTuple):
    """A line and a column, from 1, as editors count."""

    line: int
    column: int


class YamlError(ValueError):
    """The text is no YAML that is taken; the message says why."""

    def __init__(self, message: str, place: Place | None) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a file, and where its values begin, by their path."""

    content: Any
    places: dict[tuple[str | int, ...], Place] = field(default_factory=dict)

    def place(self, path: Sequence[str | int]) -> Place | None:
        """Where the value at `path` stands: its key in a mapping, itself in a list. Of a value that
        is not there, the place of what would hold it."""
        key = tuple(path)
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key)


def parse(text: str) -> Document:
    """Read one document. Raises `YamlError`."""
    loader = yaml.SafeLoader(text)
    try:
        _refuse_anchors(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None)
        places: dict[tuple[str | int, ...], Place] = {(): _place(node.start_mark)}
        _collect(node, (), places)
        return Document(loader.construct_document(node), places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_reason(error), _place(mark) if mark is not None else None) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, YamlError):
            raise
        # ValueError: a scalar that looks like a date or a number and is none.
        raise YamlError(f"no YAML: {error}", None) from error
    finally:
        loader.dispose()


def _refuse_anchors(text: str) -> None:
    """They are not needed here, and a few lines of them stand for gigabytes. Depth is bounded too,
    before anything that recurses reads the text."""
    depth = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
            raise YamlError("anchors and aliases (& and *) are not taken", _place(token.start_mark))
        if isinstance(
            token,
            yaml.BlockMappingStartToken
            | yaml.BlockSequenceStartToken
            | yaml.FlowMappingStartToken
            | yaml.FlowSequenceStartToken,
        ):
            depth += 1
            if depth > DEEPEST:
                raise YamlError(f"is nested over {DEEPEST} deep", _place(token.start_mark))
        elif isinstance(
            token, yaml.BlockEndToken | yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken
        ):
            depth -= 1


def _collect(
    node: yaml.Node, path: tuple[str | int, ...], places: dict[tuple[str | int, ...], Place]
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in places:
                first = places[inner].line
                raise YamlError(
                    f"{key.value} is there twice, first in line {first}", _place(key.start_mark)
                )
            places[inner] = _place(key.start_mark)
            _collect(value, inner, places)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            places[(*path, index)] = _place(value.start_mark)
            _collect(value, (*path, index), places)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _reason(error: yaml.MarkedYAMLError) -> str:
    text = f"no YAML: {error.problem}"
    if "'\\t'" in str(error.problem):
        text = "a tab where YAML wants spaces"
    elif "mapping values are not allowed" in str(error.problem):
        text += " (a text with a colon wants quotes)"
    return text
