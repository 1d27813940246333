"""What the author of a pipeline writes and gets: base classes, files, signatures, jobs."""
