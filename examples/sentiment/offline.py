"""The same capability without a model hub: VADER, a lexicon that comes in its package."""

from typing import Annotated

from pipeline import Reply
from pydantic import Field

from livepeer.runner import Pipeline, serve


class Sentiment(Pipeline):
    """Tell whether a text is positive or negative, by a lexicon."""

    version = "1.0.0"
    capacity = 4
    thread_safe = True

    def setup(self) -> None:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        self.analyzer = SentimentIntensityAnalyzer()

    def predict(self, text: Annotated[str, Field(min_length=1, max_length=2000)]) -> Reply:
        compound = self.analyzer.polarity_scores(text)["compound"]  # -1 to 1
        label = "positive" if compound >= 0 else "negative"
        return Reply(label=label, score=(1 + abs(compound)) / 2)


if __name__ == "__main__":
    serve(Sentiment)
