"""Whom a client trusts: certificates met before, by themselves and as aiohttp takes them."""
