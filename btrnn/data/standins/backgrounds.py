"""Backgrounds in one of twelve palettes: a wall or a sky with a pattern, and a floor, on an endless strip."""

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from btrnn.data.standins.figure import HEIGHT, WIDTH, Colour

PERIOD = 640  # columns after which a background repeats, so that the camera can follow a runner for any time
_BAND = 8  # rows of floor that move as one when the camera pans


@dataclass(frozen=True)
class Background:
    """A palette: colours (0 to 255) of the wall's top and foot and the floor far and near; the patterns."""

    top: Colour
    foot: Colour
    far: Colour
    near: Colour
    wall: Literal["clouds", "trees", "bricks", "panels", "crowd", "windows"]
    floor: Literal["grain", "boards"]


BACKGROUNDS: dict[str, Background] = {
    "park": Background((140, 185, 230), (190, 215, 220), (70, 120, 50), (90, 145, 60), "trees", "grain"),
    "beach": Background((90, 160, 225), (200, 220, 230), (200, 180, 130), (225, 205, 160), "clouds", "grain"),
    "gym": Background((215, 200, 170), (190, 170, 135), (150, 100, 55), (185, 130, 75), "panels", "boards"),
    "street": Background((70, 75, 90), (110, 105, 105), (60, 60, 65), (85, 85, 90), "windows", "grain"),
    "yard": Background((165, 85, 65), (140, 70, 55), (110, 105, 100), (140, 135, 130), "bricks", "grain"),
    "stadium": Background((110, 100, 120), (80, 75, 95), (150, 65, 50), (175, 80, 60), "crowd", "boards"),
    "stage": Background((60, 20, 75), (110, 40, 100), (45, 30, 40), (80, 55, 65), "panels", "boards"),
    "dojo": Background((235, 230, 215), (215, 205, 185), (170, 165, 95), (200, 190, 120), "windows", "boards"),
    "snow": Background((175, 195, 215), (215, 225, 235), (215, 220, 230), (240, 243, 248), "trees", "grain"),
    "pool": Background((120, 205, 210), (90, 180, 195), (190, 205, 205), (215, 225, 225), "bricks", "boards"),
    "hall": Background((60, 95, 130), (45, 75, 110), (65, 80, 100), (95, 110, 130), "panels", "grain"),
    "sunset": Background((235, 140, 90), (250, 195, 130), (95, 75, 60), (125, 95, 75), "clouds", "grain"),
}


def paint_background(
    background: Background,
    rng: np.random.Generator,
    *,
    floor_row: int,
    colour_spread: float,
    brightness: float,
    tint: Float[np.ndarray, " 3"],
) -> UInt8[np.ndarray, "240 640 3"]:
    """Paint one background of a palette.

    Args:
        background: the palette.
        rng: draws the pattern and how far the colours are from the palette's.
        floor_row: row where the wall meets the floor.
        colour_spread: standard deviation of each colour's distance from the palette's, in grey levels.
        brightness: factor on all colours.
        tint: the light's colour, a factor for each channel.

    Returns:
        Red, green, blue; the right edge continues at the left.
    """
    top, foot, far, near = (
        np.array(colour) + rng.normal(0, colour_spread, 3)
        for colour in (background.top, background.foot, background.far, background.near)
    )
    down = np.linspace(0, 1, floor_row)[:, None, None]
    nearer = np.linspace(0, 1, HEIGHT - floor_row)[:, None, None]
    wall = top + (foot - top) * down
    wall = wall + _wall_pattern(background.wall, rng, floor_row)[..., None] * np.array([1.0, 0.95, 0.9])
    floor = far + (near - far) * nearer + _floor_pattern(background.floor, rng, HEIGHT - floor_row)[..., None]
    picture = np.concatenate([wall, floor]) * brightness * tint
    picture[max(floor_row - 2, 0) : floor_row] *= 0.8
    painted: UInt8[np.ndarray, "240 640 3"] = np.clip(picture, 0, 255).astype(np.uint8)
    return painted


def pan(
    background: UInt8[np.ndarray, "240 640 3"],
    shifts: Float[np.ndarray, " T"],
    *,
    floor_row: int,
    horizon: float,
    feet_row: float,
) -> UInt8[np.ndarray, "T 240 320 3"]:
    """Cut one frame out of a background for each place of a camera that moves sideways.

    The floor moves by its distance: at the feet as far as they do, at the horizon not at all; the wall moves
    as its foot does.

    Args:
        background: from `paint_background`.
        shifts: pixels that the ground at the feet has moved to the left.
        floor_row: row where the wall meets the floor.
        horizon: row of the horizon.
        feet_row: row of the feet.
    """
    twice = np.concatenate([background, background[:, :WIDTH]], axis=1)
    starts = [0, *range(floor_row, HEIGHT, _BAND), HEIGHT]
    frames = np.empty((len(shifts), HEIGHT, WIDTH, 3), dtype=np.uint8)
    for first, last in itertools.pairwise(starts):
        row = floor_row if first == 0 else (first + last) / 2
        columns = np.round(shifts * (row - horizon) / (feet_row - horizon)).astype(np.int64) % PERIOD
        for frame, column in zip(frames, columns.tolist(), strict=True):
            frame[first:last] = twice[first:last, column : column + WIDTH]
    return frames


def _wall_pattern(kind: str, rng: np.random.Generator, rows: int) -> Float[np.ndarray, "h 640"]:
    """Grey levels to add to a wall of so many rows."""
    row, column = np.arange(rows)[:, None], np.arange(PERIOD)[None, :]
    pattern: Float[np.ndarray, "h 640"] = 5 * _smooth_noise(rng, rows, 3, 3)
    if kind == "clouds":
        pattern += 45 * np.clip(_smooth_noise(rng, rows, 28, 64), 0, None)
    elif kind == "trees":
        # Crowns: below a ragged line the sky gives way to dark leaves.
        line = rows * (0.35 + 0.12 * _smooth_noise(rng, 1, 1, 40))
        leaves = 14 * _smooth_noise(rng, rows, 6, 6)
        pattern = np.where(row > line, leaves - 85, pattern)
    elif kind == "crowd":
        pattern += 38 * _smooth_noise(rng, rows, 5, 5) - 25 * (row % 24 < 3)
    elif kind == "bricks":
        course = row // 10
        joints = (row % 10 == 0) | ((column + 16 * (course % 2)) % 32 == 0)
        shades = rng.normal(0, 7, (rows // 10 + 1, PERIOD // 32))
        pattern += shades[course, ((column + 16 * (course % 2)) // 32) % (PERIOD // 32)] - 28 * joints
    elif kind == "panels":
        step = int(rng.choice([40, 64, 80]))
        pattern += rng.normal(0, 9, PERIOD // step)[column // step] - 30 * (column % step < 2)
    else:  # windows, lit or dark
        step = int(rng.choice([40, 64, 80]))
        lit = rng.choice([-30.0, 40.0], (rows // 50 + 1, PERIOD // step))
        pattern += ((column % step > step // 4) & (row % 50 > 14)) * lit[row // 50, column // step]
    return pattern


def _floor_pattern(kind: str, rng: np.random.Generator, rows: int) -> Float[np.ndarray, "h 640"]:
    """Grey levels to add to a floor of so many rows."""
    pattern: Float[np.ndarray, "h 640"] = 10 * _smooth_noise(rng, rows, 2, 6)
    if kind == "grain":
        pattern += 8 * _smooth_noise(rng, rows, 8, 40)
    else:
        # Boards lie across the view: their seams come closer together towards the wall.
        depth = 40 / (np.arange(rows) + 12)
        seams = np.diff(np.floor(6 * depth), prepend=np.floor(6 * depth[0])) != 0
        pattern = 0.6 * pattern - 26 * seams[:, None]
    return pattern


def _smooth_noise(rng: np.random.Generator, rows: int, cell_height: int, cell_width: int) -> Float[np.ndarray, "h 640"]:
    """Noise of mean 0 and about unit range between points of a grid; periodic from left to right."""
    grid_columns = PERIOD // cell_width
    grid = rng.normal(0, 1, (rows // cell_height + 2, grid_columns)).astype(np.float32)
    grid = np.concatenate([grid[:, -2:], grid, grid[:, :2]], axis=1)
    width = PERIOD * (grid_columns + 4) // grid_columns
    height = grid.shape[0] * cell_height
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    start = 2 * PERIOD // grid_columns
    noise: Float[np.ndarray, "h 640"] = np.asarray(image, dtype=np.float64)[:rows, start : start + PERIOD]
    return noise
