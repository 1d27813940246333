"""Decoding and encoding through FFmpeg's codecs."""
