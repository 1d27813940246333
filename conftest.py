"""What holds for every test of the workspace."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# The same examples each time, however busy the machine: what fails here fails everywhere.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
# To look for new ones: `scripts/test --hypothesis-profile search`.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# A shell's background job ignores Ctrl-C, and so would the processes that tests start to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
