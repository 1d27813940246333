"""Media files, read and written through libavformat."""
