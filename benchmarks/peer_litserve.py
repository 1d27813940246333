"""LitServe with the echo of `runner.py`, in the environment that `peers.py` installed it in.

    python benchmarks/peer_litserve.py PORT

A file of its own, since its workers import what they serve. Nothing of this repository is imported.
"""

import sys
from typing import Any

import litserve


class Echo(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: Any) -> None:
        pass

    def predict(self, value: dict[str, Any]) -> dict[str, Any]:
        return {"text": value["text"], "length": len(value["text"])}


if __name__ == "__main__":
    litserve.LitServer(Echo(), accelerator="cpu").run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False
    )
