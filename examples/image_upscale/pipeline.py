from pathlib import Path

import numpy as np

from livepeer.runner import Image, Pipeline, serve


class ImageUpscale(Pipeline):
    """Double the width and height of a picture."""

    version = "1.0.0"
    capacity = 2

    def setup(self) -> None:
        from onnxruntime import InferenceSession

        self.net = InferenceSession(Path(__file__).with_name("upscale.onnx"))

    def predict(self, image: Image) -> Image:
        pixels = image.to_ndarray()  # (height, width, 3) uint8
        planes = pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
        (enlarged,) = self.net.run(None, {"picture": planes})
        result = (enlarged[0].clip(0, 1) * 255).round().astype(np.uint8)
        return Image.from_ndarray(result.transpose(1, 2, 0))


if __name__ == "__main__":
    serve(ImageUpscale)
