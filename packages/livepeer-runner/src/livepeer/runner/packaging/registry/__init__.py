"""A container registry over its HTTP API, without an engine and without a pull."""
