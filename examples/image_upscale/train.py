"""Train the net of this example and write `upscale.onnx`: about ten minutes on two CPU cores.

    uv run --with torch --with onnx --with scikit-image --with scikit-learn --with pillow train.py

The photographs are those that scikit-image and scikit-learn carry in their packages, so nothing is
downloaded. `HELD_OUT` is never trained on: the PSNR in the README was measured on it.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

SCALE = 2
PATCH = 96
HELD_OUT = ("astronaut", "coffee")
TRAINED_ON = ("brick", "camera", "chelsea", "coins", "grass", "gravel", "rocket", "retina")
# A camera, a browser and an editor shrink pictures in different ways: learn to undo each of them.
KERNELS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
    Image.Resampling.HAMMING,
)


class Upscale(nn.Module):
    """Six small convolutions add detail to a bilinear enlargement; the last one is rearranged."""

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 5, padding=2)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(width, 3 * SCALE**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # starts as the plain enlargement
        nn.init.zeros_(self.last.bias)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.first(picture))
        for layer in self.middle:
            features = torch.relu(layer(features))
        detail = functional.pixel_shuffle(self.last(features), SCALE)
        return detail + functional.interpolate(picture, scale_factor=SCALE, mode="bilinear")


def photographs() -> list[Image.Image]:
    pictures = [getattr(data, name)() for name in TRAINED_ON]
    pictures += [data.stereo_motorcycle()[0], *load_sample_images().images]
    return [
        Image.fromarray(np.atleast_3d(picture)[..., :3].squeeze()).convert("RGB")
        for picture in pictures
    ]


def batch(pictures: list[Image.Image], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(small, large) pairs: float32 (N, 3, H, W) in 0..1."""
    small, large = [], []
    for _ in range(size):
        picture = random.choice(pictures)
        zoom = random.uniform(0.5, 1.0)  # the same edges at several scales
        side = int(PATCH / zoom)
        x, y = random.randrange(picture.width - side), random.randrange(picture.height - side)
        patch = picture.crop((x, y, x + side, y + side)).resize((PATCH, PATCH), KERNELS[0])
        if random.random() < 0.5:
            patch = patch.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        patch = patch.rotate(90 * random.randrange(4))
        shrunk = patch.resize((PATCH // SCALE, PATCH // SCALE), random.choice(KERNELS))
        large.append(np.asarray(patch))
        small.append(np.asarray(shrunk))
    return tuple(  # type: ignore[return-value]
        torch.from_numpy(np.stack(each)).permute(0, 3, 1, 2).float() / 255
        for each in (small, large)
    )


def train(steps: int) -> Upscale:
    random.seed(7)
    torch.manual_seed(7)
    pictures = photographs()
    net = Upscale()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for step in range(steps):
        small, large = batch(pictures, 16)
        loss = functional.l1_loss(net(small), large)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 250 == 0:
            print(f"step {step:5d}  loss {loss.item():.4f}", flush=True)
    return net


def save(net: Upscale, path: Path) -> None:
    """Write the net as ONNX, operator by operator: it is small enough to be read."""
    nodes, weights = [], []

    def conv(name: str, layer: nn.Conv2d, source: str, target: str) -> None:
        for part, value in (("weight", layer.weight), ("bias", layer.bias)):
            weights.append(numpy_helper.from_array(value.detach().numpy(), f"{name}.{part}"))
        nodes.append(
            helper.make_node(
                "Conv",
                [source, f"{name}.weight", f"{name}.bias"],
                [target],
                pads=[layer.padding[0]] * 4,
            )
        )

    layers = [net.first, *net.middle]
    source = "picture"
    for index, layer in enumerate(layers):
        conv(f"conv{index}", layer, source, f"conv{index}.out")  # type: ignore[arg-type]
        nodes.append(helper.make_node("Relu", [f"conv{index}.out"], [f"relu{index}"]))
        source = f"relu{index}"
    conv("last", net.last, source, "last.out")
    nodes.append(
        helper.make_node("DepthToSpace", ["last.out"], ["detail"], blocksize=SCALE, mode="CRD")
    )
    weights.append(numpy_helper.from_array(np.array([1, 1, SCALE, SCALE], np.float32), "scales"))
    nodes.append(helper.make_node("Resize", ["picture", "", "scales"], ["plain"], mode="linear"))
    nodes.append(helper.make_node("Add", ["detail", "plain"], ["enlarged"]))
    shape = ["n", 3, "height", "width"]
    graph = helper.make_graph(
        nodes,
        "upscale",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("enlarged", TensorProto.FLOAT, ["n", 3, "h2", "w2"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("upscale.onnx"))
    arguments = parser.parse_args()
    save(train(arguments.steps), arguments.output)
