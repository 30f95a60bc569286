"""Grounds with a texture: a colour for every point of the plane."""

from collections.abc import Callable
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from btrnn.data.standins.layout import GROUNDS

_TILE = 256  # samples along each side of a noise tile, after which it repeats

RGB = tuple[int, int, int]
Coordinates = Float[np.ndarray, " n"]
Colours = Float[np.ndarray, "3 n"]  # red, green and blue: along the points numpy is many times faster


def paint_ground(ground: str, x: Coordinates, z: Coordinates, rng: np.random.Generator) -> Colours:
    """Return the ground's colour, 0 to 1, at points of the plane.

    Args:
        ground: One of `layout.GROUNDS`.
        x: To the right.
        z: Towards the camera.
        rng: Draws shade, grain and where the pattern begins.
    """
    shade = rng.uniform(0.88, 1.12) * rng.uniform(0.96, 1.04, 3)
    shift_x, shift_z = rng.uniform(0, 50, 2).astype(np.float32)
    colours = _PAINTERS[ground](x + shift_x, z + shift_z)
    painted: Colours = np.clip(colours * shade[:, None].astype(np.float32), 0, 1)
    return painted


@cache
def _noise_tile(blur: float) -> Float[np.ndarray, "256 256"]:
    """Make noise of mean 0 and sd 1 that repeats at its edges; always the same."""
    noise = gaussian_filter(np.random.default_rng(0).standard_normal((_TILE, _TILE)), blur, mode="wrap")
    tile: Float[np.ndarray, "256 256"] = (noise / noise.std()).astype(np.float32)
    return tile


def _noise(x: Coordinates, z: Coordinates, *, per_unit: tuple[float, float], blur: float) -> Coordinates:
    """Look noise up, at so many samples a unit along each axis."""
    columns = np.floor(x * per_unit[0]).astype(np.int32) % _TILE
    rows = np.floor(z * per_unit[1]).astype(np.int32) % _TILE
    looked_up: Coordinates = _noise_tile(blur)[rows, columns]
    return looked_up


def _mix(low: RGB, high: RGB, share: Coordinates) -> Colours:
    """Blend two colours, given from 0 to 255."""
    first, second = (np.array(colour, dtype=np.float32)[:, None] / 255 for colour in (low, high))
    mixed: Colours = first + (second - first) * share
    return mixed


def _lines(position: Coordinates, width: float) -> Coordinates:
    """Return 1 on lines at the whole numbers, else 0."""
    offset = np.abs(position - np.round(position))
    lines: Coordinates = (offset < width / 2).astype(np.float32)
    return lines


def _grass(x: Coordinates, z: Coordinates) -> Colours:
    blades = _noise(x, z, per_unit=(34.0, 17.0), blur=0.8)
    patches = _noise(x, z, per_unit=(12.0, 12.0), blur=8.0)
    return _mix((52, 92, 38), (112, 152, 70), np.clip(0.5 + 0.22 * blades + 0.16 * patches, 0, 1))


def _sand(x: Coordinates, z: Coordinates) -> Colours:
    grains = _noise(x, z, per_unit=(40.0, 40.0), blur=0.7)
    ripples = np.sin(7 * z + 1.2 * _noise(x, z, per_unit=(10.0, 10.0), blur=9.0))
    return _mix((186, 160, 112), (236, 214, 166), np.clip(0.5 + 0.12 * grains + 0.22 * ripples, 0, 1))


def _wood(x: Coordinates, z: Coordinates) -> Colours:
    board = x / 0.9
    tone = _noise(np.floor(board), np.zeros_like(x), per_unit=(1.0, 1.0), blur=0.6)
    grain = _noise(x, z, per_unit=(30.0, 3.0), blur=1.0)
    colours = _mix((122, 78, 42), (178, 128, 80), np.clip(0.5 + 0.25 * tone + 0.14 * grain, 0, 1))
    colours *= 1 - 0.5 * _lines(board, 0.05)
    return colours


def _tiles(x: Coordinates, z: Coordinates) -> Colours:
    across, along = x / 1.1, z / 1.1
    tone = (np.floor(across) + np.floor(along)) % 2
    colours = _mix(
        (150, 160, 172), (212, 216, 220), np.clip(tone + 0.05 * _noise(x, z, per_unit=(20.0, 20.0), blur=2.0), 0, 1)
    )
    colours *= 1 - 0.35 * np.maximum(_lines(across, 0.05), _lines(along, 0.05))
    return colours


def _bricks(x: Coordinates, z: Coordinates) -> Colours:
    row = z / 0.5
    across = x / 1.0 + 0.5 * (np.floor(row) % 2)
    tone = _noise(np.floor(across), np.floor(row), per_unit=(1.0, 1.0), blur=0.5)
    grain = _noise(x, z, per_unit=(30.0, 30.0), blur=1.0)
    colours = _mix((126, 66, 54), (172, 104, 86), np.clip(0.5 + 0.25 * tone + 0.1 * grain, 0, 1))
    mortar = np.maximum(_lines(across, 0.07), _lines(row, 0.12))
    colours += (np.float32(0.66) - colours) * mortar
    return colours


def _carpet(x: Coordinates, z: Coordinates) -> Colours:
    threads = _noise(x, z, per_unit=(36.0, 36.0), blur=0.6)
    diamonds = np.abs(x / 1.2 - np.round(x / 1.2)) + np.abs(z / 1.2 - np.round(z / 1.2))
    pattern = ((diamonds * 8).astype(np.int32) % 2).astype(np.float32)
    return _mix((66, 52, 84), (122, 106, 138), np.clip(0.15 + 0.6 * pattern + 0.1 * threads, 0, 1))


_PAINTERS: dict[str, Callable[[Coordinates, Coordinates], Colours]] = dict(
    zip(GROUNDS, (_grass, _sand, _wood, _tiles, _bricks, _carpet), strict=True)
)
