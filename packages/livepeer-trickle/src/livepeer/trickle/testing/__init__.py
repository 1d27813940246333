"""What tests of trickle programs need: a network that fails, and a server that obeys.

`FaultProxy` stands between a client and a real server (`livepeer.trickle.TrickleServer` starts in a
millisecond) and cuts, stalls, delays or answers in its place. `ScriptedServer` shows what a client
puts on the wire, byte for byte, and answers exactly what the test says.
"""

from __future__ import annotations

from livepeer.trickle.testing.proxy import FaultProxy
from livepeer.trickle.testing.scripted import Exchange, ScriptedServer

__all__ = ["Exchange", "FaultProxy", "ScriptedServer"]
