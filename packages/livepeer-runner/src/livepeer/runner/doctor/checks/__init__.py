"""The checks, a module for each group; `examination.CHECKS` has them all in their order."""

from __future__ import annotations
