"""BYOC at a local orchestrator: registered capabilities, batch jobs, streams."""
