"""A capability's schema: fetched, kept, and what is checked against it."""
