"""Live pipelines: video and audio that stream through a class."""
