"""MPEG transport streams, read and written without libavformat."""
