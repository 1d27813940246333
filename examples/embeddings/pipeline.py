from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from livepeer.runner import Pipeline, serve


class Query(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=10_000)]


class Embeddings(Pipeline):
    """Turn a text into 256 numbers; texts of like meaning get like numbers."""

    version = "1.0.0"
    capacity = 64
    max_batch_size = 32
    max_batch_wait_ms = 5

    def setup(self) -> None:
        import wordllama

        folder = Path(wordllama.__file__).parent  # the weights come in the package
        self.model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def predict_batch(self, inputs: list[Query]) -> list[list[float]]:
        vectors = self.model.embed([query.text for query in inputs], norm=True)
        return [vector.tolist() for vector in vectors]


if __name__ == "__main__":
    serve(Embeddings)
