"""Measuring a pipeline as its callers see it: `livepeer bench`, and `testing.bench` for tests.

`arrivals` says when calls are due, `load` makes them, `figures` turns what was seen into numbers
that its samples can carry, `live` does the same for streams. `report` is what comes out of it.
"""
