"""A person drawn as shaded capsules, with a shadow on the ground, through a pinhole camera.

Points are in the view's frame: metres, x to the right, y up from the ground, z towards the camera.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from btrnn.data.standins.motion import JOINT_INDEX

HEIGHT, WIDTH = 240, 320  # pixels, as UCF11
AMBIENT = 0.42  # part of the light that reaches a surface turned away from the lamp
SHADOW_STRENGTH = 0.5  # part of the light that a shadow takes away at its darkest
SHADOW_FLATNESS = 0.45  # a limb's shadow lies on the ground, which the camera sees at a small angle

# Two more points for the trunk, between others, so that it has a width from every side.
_MIXED = {
    "right_breast": (("right_shoulder", 0.62), ("neck", 0.38)),
    "left_breast": (("left_shoulder", 0.62), ("neck", 0.38)),
}
_POINT_INDEX = {**JOINT_INDEX, **{name: len(JOINT_INDEX) + k for k, name in enumerate(_MIXED)}}

# first point, second point, radius at each (m), what it is made of
_PARTS: tuple[tuple[str, str, float, float, str], ...] = (
    ("right_hip", "left_hip", 0.105, 0.105, "trousers"),
    ("root", "chest", 0.110, 0.105, "shirt"),
    ("right_hip", "right_breast", 0.085, 0.090, "shirt"),
    ("left_hip", "left_breast", 0.085, 0.090, "shirt"),
    ("chest", "neck", 0.105, 0.075, "shirt"),
    ("right_shoulder", "left_shoulder", 0.062, 0.062, "shirt"),
    ("neck", "head", 0.048, 0.050, "skin"),
    ("head", "head", 0.105, 0.105, "skin"),
    ("hair", "hair", 0.100, 0.100, "hair"),
    ("right_hip", "right_knee", 0.088, 0.062, "trousers"),
    ("left_hip", "left_knee", 0.088, 0.062, "trousers"),
    ("right_knee", "right_ankle", 0.060, 0.042, "shins"),
    ("left_knee", "left_ankle", 0.060, 0.042, "shins"),
    ("right_heel", "right_toe", 0.048, 0.036, "shoes"),
    ("left_heel", "left_toe", 0.048, 0.036, "shoes"),
    ("right_shoulder", "right_elbow", 0.058, 0.046, "shirt"),
    ("left_shoulder", "left_elbow", 0.058, 0.046, "shirt"),
    ("right_elbow", "right_hand", 0.046, 0.034, "forearms"),
    ("left_elbow", "left_hand", 0.046, 0.034, "forearms"),
    ("right_hand", "right_hand", 0.050, 0.050, "skin"),
    ("left_hand", "left_hand", 0.050, 0.050, "skin"),
)
_FIRST = np.array([_POINT_INDEX[part[0]] for part in _PARTS])
_SECOND = np.array([_POINT_INDEX[part[1]] for part in _PARTS])
_RADII = np.array([part[2:4] for part in _PARTS])
_ROWS = np.arange(HEIGHT, dtype=np.float32)[:, None]
_COLUMNS = np.arange(WIDTH, dtype=np.float32)[None, :]

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Person:
    """Proportions, as factors of the captured skeleton's, and the colours (0 to 255) of what it wears."""

    size: float
    leg: float
    arm: float
    width: float
    colours: dict[str, Colour]


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at a point `distance` metres away, from above by `pitch` radians.

    Attributes:
        focal: focal length in pixels.
        distance: metres to the point looked at.
        pitch: radians below the horizontal.
        centre: column and row of the point looked at.
        height: metres of that point above the ground.
    """

    focal: float
    distance: float
    pitch: float
    centre: tuple[float, float]
    height: float

    def project(
        self, points: Float[np.ndarray, "... 3"]
    ) -> tuple[Float[np.ndarray, "... 2"], Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Return columns and rows in pixels, the depth towards the camera (m), and pixels per metre there."""
        x, y, z = points[..., 0], points[..., 1] - self.height, points[..., 2]
        up = y * np.cos(self.pitch) - z * np.sin(self.pitch)
        depth = y * np.sin(self.pitch) + z * np.cos(self.pitch)
        scale = self.focal / np.maximum(self.distance - depth, 0.5)
        pixels = np.stack([self.centre[0] + x * scale, self.centre[1] - up * scale], axis=-1)
        return pixels, depth, scale

    def horizon(self) -> float:
        """Return the row of the horizon."""
        return float(self.centre[1] - self.focal * np.tan(self.pitch))


class Figure:
    """One person under one light, ready to be drawn into frames.

    Args:
        person: proportions and colours.
        light: direction towards the lamp in the view's frame, of any length; y must be positive.
        brightness: factor on all colours.
        tint: the lamp's colour, a factor for each channel.

    Raises:
        ValueError: if the light comes from below.
    """

    def __init__(
        self, person: Person, light: Float[np.ndarray, " 3"], brightness: float, tint: Float[np.ndarray, " 3"]
    ) -> None:
        if light[1] <= 0:
            raise ValueError(f"the light must come from above (y > 0), got direction {light.tolist()}")
        self.light = (light / np.linalg.norm(light)).astype(np.float32)
        self.radii = _RADII * person.width
        colours = np.array([person.colours[part[4]] for part in _PARTS])
        self.colours = (colours * brightness * tint).astype(np.float32)

    def lowest(self, points: Float[np.ndarray, "T P 3"]) -> Float[np.ndarray, " T"]:
        """Return the height (m) of the lowest point of the body's surface in each frame."""
        heights = _with_mixed(points)[..., 1]
        low = np.minimum(heights[:, _FIRST] - self.radii[:, 0], heights[:, _SECOND] - self.radii[:, 1])
        lowest: Float[np.ndarray, " T"] = low.min(axis=1)
        return lowest

    def draw(
        self, frames: UInt8[np.ndarray, "T 240 320 3"], points: Float[np.ndarray, "T P 3"], camera: Camera
    ) -> None:
        """Draw the body into every frame, in place.

        Args:
            frames: backgrounds, red, green, blue.
            points: the 21 points of `motion.JOINTS` in the view's frame.
            camera: the camera.
        """
        points = _with_mixed(points)
        pixels, depth, scale = camera.project(points)
        fallen = points - self.light * (points[..., 1:2] / self.light[1])
        shadow_pixels, _, shadow_scale = camera.project(fallen)
        order = np.argsort(depth[:, _FIRST] + depth[:, _SECOND], axis=1, kind="stable")
        starts = pixels[:, _FIRST].astype(np.float32)
        ends = pixels[:, _SECOND].astype(np.float32)
        radii = np.stack([scale[:, _FIRST], scale[:, _SECOND]], axis=-1) * self.radii
        thickness = SHADOW_FLATNESS * 2 * shadow_scale[:, _FIRST] * self.radii.mean(axis=1)
        for index, frame in enumerate(frames):
            _cast_shadow(frame, shadow_pixels[index], thickness[index])
            for part in order[index]:
                first, second = radii[index, part].tolist()
                self._draw_part(frame, starts[index, part], ends[index, part], first, second, self.colours[part])

    def _draw_part(
        self,
        frame: UInt8[np.ndarray, "240 320 3"],
        start: Float[np.ndarray, " 2"],
        end: Float[np.ndarray, " 2"],
        first_radius: float,
        second_radius: float,
        colour: Float[np.ndarray, " 3"],
    ) -> None:
        """Draw one capsule: the distance to its axis gives its edge and the way its surface faces."""
        start_x, start_y = start.tolist()
        along_x, along_y = (end - start).tolist()
        margin = max(first_radius, second_radius) + 1.5
        left = max(int(min(start_x, start_x + along_x) - margin), 0)
        right = min(int(max(start_x, start_x + along_x) + margin) + 1, WIDTH)
        top = max(int(min(start_y, start_y + along_y) - margin), 0)
        bottom = min(int(max(start_y, start_y + along_y) + margin) + 1, HEIGHT)
        if left >= right or top >= bottom:
            return
        x = _COLUMNS[:, left:right] - np.float32(start_x)
        y = _ROWS[top:bottom] - np.float32(start_y)
        length_squared = along_x * along_x + along_y * along_y
        radius: Float[np.ndarray, "h w"] | float = first_radius
        if length_squared > 0.01:
            share = x * np.float32(along_x / length_squared) + y * np.float32(along_y / length_squared)
            np.clip(share, 0, 1, out=share)
            x = x - share * np.float32(along_x)
            y = y - share * np.float32(along_y)
            radius = first_radius + share * np.float32(second_radius - first_radius)
        distance_squared = x * x + y * y
        outward = np.float32(1) / np.float32(radius)
        facing = np.sqrt(np.maximum(1 - distance_squared * (outward * outward), 0))
        lit = (x * self.light[0] - y * self.light[1]) * outward + facing * self.light[2]
        shade = AMBIENT + (1 - AMBIENT) * np.maximum(lit, 0)
        cover = np.clip(radius + np.float32(0.5) - np.sqrt(distance_squared), 0, 1)
        box = frame[top:bottom, left:right]
        painted = shade[..., None] * colour
        np.minimum(painted, 255, out=painted)
        painted -= box
        painted *= cover[..., None]
        painted += box
        box[...] = painted


def _with_mixed(points: Float[np.ndarray, "T P 3"]) -> Float[np.ndarray, "T Q 3"]:
    """Append the trunk's two extra points."""
    mixed = [sum(points[:, JOINT_INDEX[name]] * share for name, share in mix) for mix in _MIXED.values()]
    return np.concatenate([points, np.stack(mixed, axis=1)], axis=1)


def _cast_shadow(
    frame: UInt8[np.ndarray, "240 320 3"],
    pixels: Float[np.ndarray, "Q 2"],
    thickness: Float[np.ndarray, " N"],
) -> None:
    """Darken the ground where the body keeps the light away, in place."""
    # At half size: it is faster, and a shadow has soft edges.
    mask = Image.new("L", (WIDTH // 2, HEIGHT // 2))
    pen = ImageDraw.Draw(mask)
    for first, second, width in zip(_FIRST, _SECOND, thickness.tolist(), strict=True):
        (x0, y0), (x1, y1) = (pixels[first] / 2).tolist(), (pixels[second] / 2).tolist()
        if first != second:
            pen.line((x0, y0, x1, y1), fill=255, width=max(int(width / 2), 1))
        else:
            pen.ellipse((x0 - width / 2, y0 - width / 5, x0 + width / 2, y0 + width / 5), fill=255)
    box = mask.getbbox()
    if box is None:
        return
    top, bottom = max(box[1] - 2, 0), min(box[3] + 2, HEIGHT // 2)
    part = (
        mask.crop((0, top, WIDTH // 2, bottom)).reduce(2).resize((WIDTH, 2 * (bottom - top)), Image.Resampling.BICUBIC)
    )
    light = 256 - (np.asarray(part, dtype=np.uint16) * SHADOW_STRENGTH).astype(np.uint16)
    rows = frame[2 * top : 2 * bottom]
    rows[...] = (rows * light[..., None]) >> 8
