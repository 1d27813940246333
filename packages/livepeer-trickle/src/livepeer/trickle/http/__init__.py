"""HTTP/1.1 on asyncio: connections, their pool, and one exchange on one of them."""
