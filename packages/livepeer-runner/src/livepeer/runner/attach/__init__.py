"""The seat of a registry: who may call, what is registered, and the roads to get there."""
