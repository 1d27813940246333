"""A line of the clients' tables: `Rule`. It stands alone because both tables are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from livepeer.trickle.exceptions import TrickleError

ActionT = TypeVar("ActionT", bound=Enum)


@dataclass(frozen=True)  # slots would break `Rule[...](...)`: typing sets an attribute
class Rule(Generic[ActionT]):
    """What a client does about an answer, why, and the error that it raises where it does."""

    action: ActionT
    why: str
    error: type[TrickleError] | None = None
