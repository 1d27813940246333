from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from livepeer.runner import Pipeline, serve


class Reply(BaseModel):
    label: Literal["positive", "negative"]
    score: float = Field(ge=0.5, le=1, description="How sure the model is.")


class Sentiment(Pipeline):
    """Tell whether a text is positive or negative."""

    version = "1.0.0"
    capacity = 4
    thread_safe = True  # an ONNX Runtime session may be run by several threads at once

    @classmethod
    def prepare_models(cls) -> None:
        from huggingface_hub import hf_hub_download

        for name in ("onnx/model_quantized.onnx", "tokenizer.json"):
            hf_hub_download(
                "Xenova/distilbert-base-uncased-finetuned-sst-2-english",
                name,
                local_dir=cls.model_dir / cls.pipeline_id,
            )

    def setup(self) -> None:
        from onnxruntime import InferenceSession
        from tokenizers import Tokenizer

        folder = self.model_dir / self.pipeline_id
        self.session = InferenceSession(folder / "onnx/model_quantized.onnx")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length=512)

    def predict(self, text: Annotated[str, Field(min_length=1, max_length=2000)]) -> Reply:
        encoded = self.tokenizer.encode(text)
        (logits,) = self.session.run(
            None,
            {
                "input_ids": np.array([encoded.ids]),
                "attention_mask": np.array([encoded.attention_mask]),
            },
        )
        negative, positive = np.exp(logits[0] - logits[0].max())
        score = float(positive / (negative + positive))
        if score >= 0.5:
            return Reply(label="positive", score=score)
        return Reply(label="negative", score=1 - score)


if __name__ == "__main__":
    serve(Sentiment)
