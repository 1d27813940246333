"""What an orchestrator is asked by gRPC: its offer for a model of live-video-to-video. No I/O."""

from __future__ import annotations

from typing import Final

from livepeer.client.protocol.protobuf import Field, Message

GET_ORCHESTRATOR: Final = "net.Orchestrator/GetOrchestrator"
LIVE_VIDEO_TO_VIDEO: Final = 35
"""go-livepeer's number of the capability."""

# A map is a list of pairs: the key is field 1 of each, the value 2.
_MODELS: Final = Message(
    {
        1: Field(
            "models",
            Message(
                {1: Field("key", "text"), 2: Field("value", Message({1: Field("warm", "int")}))}
            ),
            repeated=True,
        )
    }
)
_CONSTRAINTS: Final = Message(
    {
        2: Field(
            "PerCapability",
            Message({1: Field("key", "int"), 2: Field("value", _MODELS)}),
            repeated=True,
        )
    }
)
_CAPABILITIES: Final = Message(
    {
        3: Field(
            "capacities",
            Message({1: Field("key", "int"), 2: Field("value", "int")}),
            repeated=True,
        ),
        5: Field("constraints", _CONSTRAINTS),
    }
)
ORCHESTRATOR_REQUEST: Final = Message(
    {
        1: Field("address", "bytes"),
        2: Field("sig", "bytes"),
        3: Field("capabilities", _CAPABILITIES),
        4: Field("ignoreCapacityCheck", "int"),
    }
)


def offer_request(model: str, address: bytes, signature: bytes) -> bytes:
    """A `net.OrchestratorRequest` for one model; an orchestrator without a place says so."""
    pair = {"key": LIVE_VIDEO_TO_VIDEO, "value": {"models": [{"key": model, "value": {}}]}}
    return ORCHESTRATOR_REQUEST.encode(
        {
            "address": address,
            "sig": signature,
            "capabilities": {
                "capacities": [{"key": LIVE_VIDEO_TO_VIDEO, "value": 1}],
                "constraints": {"PerCapability": [pair]},
            },
        }
    )
