"""`livepeer mcp`: what a coding agent writes, runs and publishes pipelines with.

Only the command imports it: it needs the extra `mcp`. Each tool runs a `livepeer` command as a
child process, so that an author's code never meets the protocol.
"""
