"""What both kinds of work run on: threads, slots, executions, the life of a service."""
