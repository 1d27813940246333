"""Keep an HTTP service registered as a capability of one or several orchestrators.

    capability = Capability(name="sentiment", url="http://10.0.0.5:8000", capacity=4)
    async with Registration("https://10.0.0.2:8935", secret, capability=capability) as registration:
        ...serve; registration.authenticate(request.headers.get("Authorization"))

Needs no `Pipeline`: any HTTP service can be kept registered.
"""

from __future__ import annotations

from livepeer.runner.attach.callers import Caller, Callers
from livepeer.runner.attach.capability import Capability
from livepeer.runner.attach.registration import Registration
from livepeer.runner.attach.state import OrchestratorState, Timing

__all__ = ["Caller", "Callers", "Capability", "OrchestratorState", "Registration", "Timing"]
