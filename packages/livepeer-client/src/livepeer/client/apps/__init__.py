"""Apps that are not made with this SDK: requests, WebSockets and channels in a session with one."""
