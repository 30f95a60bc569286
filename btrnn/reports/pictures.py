"""What models drew and said: the picture figures of Tasks 2 and 3, from the arrays that their runs kept."""

from collections.abc import Callable

import numpy as np

from btrnn.figures.file import FigureFile
from btrnn.figures.pictures import Tile, draw_animation, draw_tiles, sheet
from btrnn.reports.view import View
from btrnn.results.store import LOCAL
from btrnn.results.summary import rows_of

_COLUMNS = 3  # of images with captions
Arrays = dict[str, np.ndarray]


def _samples(arrays: Arrays) -> np.ndarray:
    images = arrays["samples"]
    return sheet(images.reshape(10, 10, *images.shape[1:]))


def _reconstructions(arrays: Arrays) -> np.ndarray:
    """Lay out test images in two rows, and below each row what a model makes of it."""
    half = len(arrays["originals"]) // 2
    parts = (slice(half), slice(half, None))
    return sheet(np.stack([arrays[key][part] for part in parts for key in ("originals", "reconstructions")]))


_SHEETS: dict[str, tuple[str, Callable[[Arrays], np.ndarray]]] = {  # by the array that it shows; what stands above
    "samples": ("samples from the prior", _samples),
    "reconstructions": ("test images, and below each its reconstruction", _reconstructions),
    "canvases": ("the canvas, glimpse by glimpse from the top", lambda arrays: sheet(arrays["canvases"])),
}


def drawn_files(view: View) -> list[FigureFile]:
    """Return sheets of what every model drew, beside one another, and an animation of how."""
    several, shown = "num_glimpses" in view.varied, {}
    for row in view.summary.to_dict("records"):
        prefix = f"{LOCAL}/" * (row["origin"] == LOCAL) + f"{row['name']}/"
        pictures = {key.removeprefix(prefix): a for key, a in view.results.pictures.items() if key.startswith(prefix)}
        shown[row["label"] + (f", T = {row['num_glimpses']:g}" if several else "")] = pictures
    files, title = [], f"DRAW on {view.title}"
    for name, (words, lay_out) in _SHEETS.items():
        tiles = [Tile(lay_out(arrays), label) for label, arrays in shown.items() if name in arrays]
        if tiles:
            files.append(view.figure(f"{name}.png", draw_tiles, [("", tiles)], title=f"{title}\n{words}"))
    canvases = {label: arrays["canvases"] for label, arrays in shown.items() if "canvases" in arrays}
    if canvases:
        files.append(view.figure("generation.gif", draw_animation, canvases, title=title))
    return files


def captions_file(view: View) -> list[FigureFile]:
    """Return some test images with what each model says of them, by its first seed, if it saw them all."""
    pictures, said = view.results.pictures, {}
    if not {"images", "image_ids"} <= set(pictures):
        return []
    for row in view.summary.to_dict("records"):
        captions = rows_of(row, view.results.predictions)
        first = captions[captions["seed"] == captions["seed"].min()].set_index("image")["caption"]
        if set(pictures["image_ids"]) <= set(first.index):
            said[row["label"]] = first
    tiles = [
        Tile(image, "", tuple(f"{label}: {captions[number]}" for label, captions in said.items()))
        for image, number in zip(pictures["images"], pictures["image_ids"], strict=True)
    ]
    rows = [("", tiles[place : place + _COLUMNS]) for place in range(0, len(tiles), _COLUMNS)]
    title = f"{view.title}: some test images"
    return [view.figure("captions.png", draw_tiles, rows, title=title)] if said else []
