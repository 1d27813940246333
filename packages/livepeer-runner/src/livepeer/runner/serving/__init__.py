"""A pipeline class as an ASGI app, and the app as a process."""
