"""Task 2: pictures that models drew."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from btrnn.figures.style import drawing

Pictures = dict[str, dict[str, np.ndarray]]  # by model and array, see `btrnn.tasks.Generation.outputs`
_GAP = 2  # pixels between two images
_ENLARGED = 3  # pixels of the animation for one of an image
_LABEL_HEIGHT = 16


def _grid(images: np.ndarray) -> np.ndarray:
    """Lay (rows, columns, h, w) images out as one, with gaps of mid grey."""
    rows, columns, height, width = images.shape
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP), 128, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + _GAP), column * (width + _GAP)
            sheet[top : top + height, left : left + width] = images[row, column]
    return sheet


def _side_by_side(sheets: dict[str, np.ndarray], title: str, y_label: str = "") -> Figure:
    """Draw one sheet a model, beside one another."""
    with drawing({"axes.grid": False}):
        height, width = next(iter(sheets.values())).shape
        figure = Figure(
            figsize=(3.6 * len(sheets), 3.6 * height / width + 0.65 + 0.25 * title.count("\n")), layout="constrained"
        )
        axes = figure.subplots(1, len(sheets), squeeze=False)[0]
        for axis, (label, sheet) in zip(axes, sheets.items(), strict=True):
            axis.imshow(sheet, cmap="gray", vmin=0, vmax=255)
            axis.set_title(label)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].set_ylabel(y_label)
        figure.suptitle(title)
        return figure


def samples(pictures: Pictures, title: str) -> Figure:
    """Draw 100 images that each model generated, beside one another."""
    sheets = {
        label: _grid(arrays["samples"].reshape(10, 10, *arrays["samples"].shape[1:]))
        for label, arrays in pictures.items()
    }
    return _side_by_side(sheets, f"{title}: samples from the prior")


def reconstructions(pictures: Pictures, title: str) -> Figure:
    """Draw test images (upper rows) and what each model makes of them (lower rows)."""
    sheets = {}
    for label, arrays in pictures.items():
        half = len(arrays["originals"]) // 2
        rows = [
            arrays[key][part] for part in (slice(half), slice(half, None)) for key in ("originals", "reconstructions")
        ]
        sheets[label] = _grid(np.stack(rows))
    return _side_by_side(sheets, f"{title}\ntest images, and below each its reconstruction")


def canvases(pictures: Pictures, title: str) -> Figure:
    """Draw the canvas of generated images, one row a glimpse, from the first to the last."""
    longest = max(len(arrays["canvases"]) for arrays in pictures.values())
    sheets = {}
    for label, arrays in pictures.items():
        images = arrays["canvases"]
        missing = np.full((longest - len(images), *images.shape[1:]), 128, dtype=np.uint8)
        sheets[label] = _grid(np.concatenate([images, missing]))
    return _side_by_side(sheets, f"{title}: the canvas", "glimpse, from the top")


def animation(pictures: Pictures, title: str) -> list[Image.Image]:
    """Draw a frame for each glimpse: the canvases of every model, one row a model; the last stands for a while."""
    longest = max(len(arrays["canvases"]) for arrays in pictures.values())
    frames = []
    for glimpse in [*range(longest), *[longest - 1] * 5]:
        strips = []
        for label, arrays in pictures.items():
            now = min(glimpse, len(arrays["canvases"]) - 1)
            strip = Image.fromarray(_grid(arrays["canvases"][now][None]))
            strip = strip.resize((strip.width * _ENLARGED, strip.height * _ENLARGED), Image.Resampling.NEAREST)
            strips.append(_captioned(strip, f"{label}: glimpse {now + 1}"))
        frame = Image.new("L", (strips[0].width, sum(strip.height for strip in strips) + _LABEL_HEIGHT), 255)
        ImageDraw.Draw(frame).text((2, 2), title, fill=0)
        top = _LABEL_HEIGHT
        for strip in strips:
            frame.paste(strip, (0, top))
            top += strip.height
        frames.append(frame)
    return frames


def _captioned(strip: Image.Image, text: str) -> Image.Image:
    """Put a line of text above an image."""
    whole = Image.new("L", (strip.width, strip.height + _LABEL_HEIGHT), 255)
    ImageDraw.Draw(whole).text((2, 2), text, fill=0)
    whole.paste(strip, (0, _LABEL_HEIGHT))
    return whole
