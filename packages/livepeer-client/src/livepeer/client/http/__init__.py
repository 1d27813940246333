"""Connections to orchestrators and gateways: pools, TLS pins, deadlines, retries, events."""
