"""From the type hints of `predict` to everything that is derived from them.

`PredictSignature.of(Class)` is the one entry: input model, output, example, schema document.
"""

from __future__ import annotations

from livepeer.runner.author.signature.predict import PredictSignature
from livepeer.runner.author.signature.returns import Encoded, Output

__all__ = ["Encoded", "Output", "PredictSignature"]
