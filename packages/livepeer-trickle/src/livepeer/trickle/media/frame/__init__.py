"""Decoded pictures and sound, their conversions and clocks."""
