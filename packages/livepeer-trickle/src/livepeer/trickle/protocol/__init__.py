"""The trickle protocol without I/O: wire names, the states of segments and channels, records."""
