from typing import Annotated

from pydantic import Field

from livepeer.runner import Pipeline, serve


class Template(Pipeline):
    """Say in one line what it does: the table of the examples shows this."""

    version = "1.0.0"

    def setup(self) -> None:
        self.words = {"hello": "bonjour", "world": "monde"}  # the model, loaded once

    def predict(self, text: Annotated[str, Field(max_length=2000, examples=["hello"])]) -> str:
        return " ".join(self.words.get(word, word) for word in text.lower().split())


if __name__ == "__main__":
    serve(Template)
