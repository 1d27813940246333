from pydantic import BaseModel

from livepeer.runner import Image, Pipeline, serve


class Line(BaseModel):
    text: str
    score: float
    box: list[tuple[float, float]]
    """Four corners in pixels, clockwise from the top left."""


class Ocr(Pipeline):
    """Read the text in a picture, line by line."""

    version = "1.0.0"

    def setup(self) -> None:
        from rapidocr import RapidOCR

        # Its models come in its package.
        self.reader = RapidOCR(params={"Global.log_level": "warning"})

    def predict(self, image: Image, min_score: float = 0.5) -> list[Line]:
        found = self.reader(image.to_ndarray()[..., ::-1])  # it takes BGR, as OpenCV does
        if found.txts is None:
            return []
        lines = zip(found.txts, found.scores, found.boxes.tolist(), strict=True)
        return [
            Line(text=text, score=score, box=box)
            for text, score, box in lines
            if score >= min_score
        ]


if __name__ == "__main__":
    serve(Ocr)
