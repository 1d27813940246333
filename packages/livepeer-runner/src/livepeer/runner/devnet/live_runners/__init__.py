"""Live runners at a local orchestrator: go-livepeer's newer registry (`ai/runner/live_runner.go`).

A runner registers with heartbeats or stands in a file, callers find it by discovery and open a
session, and the orchestrator passes their requests on.
"""
