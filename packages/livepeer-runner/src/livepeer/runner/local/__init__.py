"""One pipeline in this process: what tests, `livepeer predict`, benchmarks and tools stand on.

from livepeer.runner import local

async with local.serve(Sentiment) as hosted:
    encoded = await hosted.predict({"text": "I love it"})
"""

from __future__ import annotations

from livepeer.runner.local.host import Hosted, SetupFailed, serve

__all__ = ["Hosted", "SetupFailed", "serve"]
