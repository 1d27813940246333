"""go-livepeer's BYOC registry."""
