"""A live session: its start, channels, frames, events, payments and end."""
