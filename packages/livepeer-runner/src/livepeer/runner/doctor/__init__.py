"""`livepeer doctor`: is a container what the network needs? Judged from outside."""

from __future__ import annotations
