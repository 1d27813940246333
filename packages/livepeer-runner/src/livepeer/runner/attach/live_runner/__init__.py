"""go-livepeer's live-runner registry: heartbeats, sessions, and a path that is a secret."""
