"""Replays the recorded BYOC transcripts of `specs/fixtures/byoc/` (their README is the format).

`transcript` loads scenarios, `values` expands and matches what they say, `http1` speaks HTTP/1.1
over raw sockets, `scripted` is the other side that answers as written. None of it knows who is
replayed against whom; a replayer (such as `orchestrator`) puts them together.
"""
