"""The three requests of a BYOC registration, and what their answers mean."""

from __future__ import annotations

import base64
import json
from typing import Any

from livepeer.runner.attach.client import RegistryAnswer, RegistryClient

NOBODY = base64.b64encode(json.dumps({"addr": "", "sig": ""}).encode()).decode()
"""go-livepeer: the token's address is not looked at offchain; an on-chain orchestrator answers
400."""


class OrchestratorClient(RegistryClient):
    """One orchestrator's BYOC registry."""

    async def register(self, body: dict[str, Any]) -> RegistryAnswer:
        """`POST /capability/register`. Raises `Unreachable`."""
        secret = self._address.secret.reveal()
        return await self.ask(
            "POST", "/capability/register", headers={"Authorization": secret}, json=body
        )

    async def unregister(self, name: str) -> RegistryAnswer:
        """`POST /capability/unregister`; the body is the bare name. Raises `Unreachable`."""
        headers = {"Authorization": self._address.secret.reveal(), "Content-Type": "text/plain"}
        return await self.ask("POST", "/capability/unregister", headers=headers, data=name.encode())

    async def token(self, name: str) -> RegistryAnswer:
        """`GET /process/token`, which shows whether the capability is known. No secret is sent."""
        headers = {"Livepeer-Capability": name, "Livepeer-Eth-Address": NOBODY}
        return await self.ask("GET", "/process/token", headers=headers)


def registration_failure(answer: RegistryAnswer) -> tuple[str, bool] | None:
    """Why a registration was not taken, and whether that is final. None: it was taken."""
    match answer.status:
        case 200:
            return None
        case 400 if "authorization" in answer.text.lower():
            return f"the secret is wrong ({answer.said}): set LIVEPEER_ORCH_SECRET", True
        case 404 | 405:
            return (
                f"no orchestrator with BYOC is at this address ({answer.said}): "
                f"set LIVEPEER_ORCH_URL to its service address"
            ), True
        case _:
            return answer.failure()


def available_capacity(answer: RegistryAnswer) -> int | None:
    """Free places according to `GET /process/token`, 0 where the field is absent (none free,
    or not registered: go-livepeer does not tell apart). None: the answer says nothing."""
    if answer.status != 200:
        return None
    try:
        token = json.loads(answer.text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(token, dict):
        return None
    value = token.get("available_capacity", 0)
    return value if isinstance(value, int) else None
