"""Streams measured as their viewers see them: numbered pictures and marks in the sound go in, and
what comes out is matched with them.

`marks` draws and reads, `camera` makes pictures and sound, `stream` sends them through a target and
notes what comes back, `report` makes figures of that, `ramp` adds streams until an aim is missed.
"""
