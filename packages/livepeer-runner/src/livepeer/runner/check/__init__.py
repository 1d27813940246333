"""What is wrong with a pipeline's source, before anything of it is served.

`check(target)` reads the files that a pipeline is made of, imports them in a process of its own,
and tells each mistake with its file, its line and its fix.
"""

from __future__ import annotations

from livepeer.runner.check.examine import check, check_source
from livepeer.runner.check.findings import FindingLevel, Findings, SourceFinding

__all__ = ["FindingLevel", "Findings", "SourceFinding", "check", "check_source"]
