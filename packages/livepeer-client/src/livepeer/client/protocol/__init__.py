"""What goes over the wire between caller, orchestrator and gateway. No I/O."""
