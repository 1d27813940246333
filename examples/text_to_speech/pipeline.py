import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from livepeer.runner import Audio, Pipeline, serve


class TextToSpeech(Pipeline):
    """Speak an English text."""

    version = "1.0.0"
    capacity = 4
    thread_safe = True  # each call is a process of its own
    timeout = 60

    def predict(
        self,
        text: Annotated[str, Field(min_length=1, max_length=5000)],
        voice: Literal["slt", "rms", "awb", "kal16"] = "slt",
    ) -> Audio:
        with tempfile.TemporaryDirectory() as folder:
            speech = Path(folder) / "speech.wav"
            subprocess.run(
                ["flite", "-voice", voice, "-t", text, "-o", speech], check=True, timeout=60
            )
            return Audio(speech, "audio/wav")


if __name__ == "__main__":
    serve(TextToSpeech)
