"""The playground: one page on which a person sees a pipeline work.

The page is package data (`page/`), served as it is: no build step, nothing from elsewhere. What it
does goes through a `Caller`, which is a caller like any other: of the local network, of a container
that runs here, or of the network. A live stream has one WebSocket that carries encoded pictures and
sound both ways; nothing is decoded or encoded here but the sound that goes in.
"""

from __future__ import annotations
