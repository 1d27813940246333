"""What can go wrong in a runner, as one tree.

RunnerError
├── SettingsError      an environment variable is wrong; lists all of them
├── SignatureError     `predict` cannot be served as it is written
├── FileError          a file in a caller's input is unusable (422); `.location` names the field
│   └── FetchError     ... it could not be fetched from its URL
└── RegistrationError  an orchestrator will not have us, and trying again would not help
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class RunnerError(Exception):
    """Root of every error that `livepeer.runner` raises itself.

    `code` never changes; `livepeer explain CODE` says more.
    """

    code: ClassVar[str] = "runner_error"


class SettingsError(RunnerError, ValueError):
    """One or more environment variables are wrong; `problems` has a sentence for each."""

    code = "settings"

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class SignatureError(RunnerError, TypeError):
    """A `predict` method that cannot be turned into a schema; says what to write instead."""

    code = "signature"


class FileError(RunnerError, ValueError):
    """A file in the input is not usable; `location` is the path of its field (pydantic `loc`)."""

    code = "file_unusable"

    def __init__(self, message: str, *, location: Sequence[str | int] = ()) -> None:
        self.location = tuple(location)
        super().__init__(message)


class FetchError(FileError):
    """A file could not be fetched from the URL that the caller gave."""

    code = "fetch_failed"


class RegistrationError(RunnerError):
    """A registration that cannot succeed until someone changes something."""

    code = "registration_refused"
