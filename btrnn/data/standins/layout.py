"""What stands where in a scene: two to four solids on a ground, drawn at random, and the camera that sees them.

A small solid is 1.2 units high; x goes to the right, y up, z towards the camera.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from btrnn.data.loading import generator

SHAPES = (
    *("ball", "cube", "cylinder", "cone", "pyramid", "ring", "star", "cross"),
    *("house", "arch", "chair", "staircase", "arrow", "diamond"),
)
COLOURS = ("red", "orange", "yellow", "green", "turquoise", "blue", "purple", "pink", "white", "black")
SIZES = {"small": 1.2, "medium": 1.65, "large": 2.25}  # heights
MATERIALS = ("matte", "shiny", "striped", "spotted", "checked")
GROUNDS = ("grass", "sand", "wood", "tiles", "bricks", "carpet")
UNSEEN_PAIRS = ("colour and shape", "colour and material", "shape and material")  # see `held_out`
FLAT_TOPPED = ("cube", "cylinder")  # what another solid can stand on

IMAGE_SIZE = 224  # pixels, height and width
MARGIN = 0.03  # of the picture, kept free at its edges
FIELD = ((-2.9, 2.9), (-2.6, 2.8))  # where solids stand, along x and z
STACKED_SHARE = 0.6  # of the solids that can stand on a larger one do
OVERLAP = 1.0  # least distance of two solids in the picture, as a share of the sum of their radii
_TRIES = 200


class _Looks(NamedTuple):
    """What a solid is like."""

    shape: str
    colour: str
    size: str
    material: str


class SceneObject(NamedTuple):
    """A solid: what it is, its foot's middle (x, y, z), its turn about the vertical, and which solid it stands on."""

    shape: str
    colour: str
    size: str
    material: str
    place: tuple[float, float, float]
    turn: float
    on: int | None = None

    @property
    def height(self) -> float:
        """Height, and about the width."""
        return SIZES[self.size]

    @property
    def centre(self) -> tuple[float, float, float]:
        """Its middle."""
        x, y, z = self.place
        return x, y + self.height / 2, z


@dataclass(frozen=True)
class Camera:
    """Stands at `position`, looks down by `pitch` (radians); `focal` in widths of the picture."""

    position: tuple[float, float, float]
    pitch: float
    focal: float

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Return its right, down and forward directions, as rows."""
        sin, cos = np.sin(self.pitch), np.cos(self.pitch)
        return np.array([[1.0, 0.0, 0.0], [0.0, -cos, sin], [0.0, -sin, -cos]])

    def project(self, points: Float[np.ndarray, "n 3"]) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
        """Return where points are in the picture, from (0, 0) left above to (1, 1), and how many widths a unit has."""
        seen = (points - np.array(self.position)) @ self.axes().T
        scale = self.focal / seen[:, 2]
        return 0.5 + seen[:, :2] * scale[:, None], scale


@dataclass(frozen=True)
class Scene:
    """A scene; the solids stand in order of how much they strike the eye: the largest in the picture first."""

    ground: str
    objects: tuple[SceneObject, ...]
    camera: Camera
    light: tuple[float, float, float]
    brightness: float

    def picture_positions(self) -> Float[np.ndarray, "objects 2"]:
        """Return the solids' middles in the picture, from (0, 0) left above to (1, 1)."""
        return self.camera.project(np.array([thing.centre for thing in self.objects]))[0]


def held_out(colour: str, shape: str, material: str) -> list[str]:
    """Name the pairs of a solid's looks that are kept for the test scenes, of `UNSEEN_PAIRS`.

    A colour of every shape (14 of 140 pairs), a colour of every material (5 of 50) and a shape of every material (5 of
    70). The rule: the first one's number plus three times the other's is a multiple of how many there are of the
    first. Each colour, shape and material is seen in training, with others.
    """
    c, s, m = COLOURS.index(colour), SHAPES.index(shape), MATERIALS.index(material)
    kept = ((c + 3 * s) % len(COLOURS) == 0, (c + 3 * m) % len(COLOURS) == 0, (s + 3 * m) % len(SHAPES) == 0)
    return [pair for pair, unseen in zip(UNSEEN_PAIRS, kept, strict=True) if unseen]


def sample_scene(seed: int, split: int, number: int) -> Scene:
    """Draw a scene; it is a function of the three numbers alone.

    Args:
        seed: Of the whole set, not negative.
        split: 0 training, 1 validation, 2 test. One solid of a test scene has a held-out pair of looks, of one kind;
            no other solid has one, in no split.
        number: Of the scene in its split, from 0.
    """
    rng = generator(seed, split, number)
    while True:
        camera = _sample_camera(rng)
        objects = _place(rng, camera, _sample_looks(rng, test=split == 2))
        if objects is not None:
            return Scene(
                ground=str(rng.choice(GROUNDS)),
                objects=_by_prominence(objects, camera),
                camera=camera,
                light=(float(rng.uniform(-0.8, 0.8)), 1.0, float(rng.uniform(0.15, 0.8))),
                brightness=float(rng.uniform(0.9, 1.1)),
            )


def _sample_camera(rng: np.random.Generator) -> Camera:
    height = float(rng.uniform(4.0, 5.2))
    return Camera((0.0, height, 8.6), float(np.arctan2(height - 0.5, 8.6)), float(rng.uniform(1.2, 1.3)))


def _sample_looks(rng: np.random.Generator, *, test: bool) -> list[_Looks]:
    """Draw the looks of 2 to 4 solids; no two alike in colour and shape."""
    looks: list[_Looks] = []
    count = int(rng.choice([2, 3, 4], p=[0.4, 0.4, 0.2]))
    unseen = [str(rng.choice(UNSEEN_PAIRS))] if test else []
    while len(looks) < count:
        colour, shape, size = (str(rng.choice(names)) for names in (COLOURS, SHAPES, list(SIZES)))
        material = str(rng.choice(MATERIALS, p=[0.3, 0.25, 0.15, 0.15, 0.15]))
        alike = any((look.colour, look.shape) == (colour, shape) for look in looks)
        if not alike and held_out(colour, shape, material) == ([] if looks else unseen):
            looks.append(_Looks(shape, colour, size, material))
    return looks


def _place(rng: np.random.Generator, camera: Camera, looks: list[_Looks]) -> list[SceneObject] | None:
    """Find places where all are in the picture and hide little of one another; None where that fails."""
    objects: list[SceneObject] = []
    for look in looks:
        turn = float(rng.uniform(-0.6, 0.6))
        below = _support(rng, objects, look.size)
        for _ in range(_TRIES if below is None else 1):
            if below is None:
                place = (float(rng.uniform(*FIELD[0])), 0.0, float(rng.uniform(*FIELD[1])))
            else:
                x, y, z = objects[below].place
                place = (x, y + objects[below].height, z)
            thing = SceneObject(*look, place, turn, below)
            if _fits(thing, objects, camera):
                objects.append(thing)
                break
        else:
            return None
    return objects


def _support(rng: np.random.Generator, objects: list[SceneObject], size: str) -> int | None:
    """Choose a solid for a smaller one to stand on, or None for the ground."""
    taken = {thing.on for thing in objects}
    free = [
        index
        for index, thing in enumerate(objects)
        if thing.shape in FLAT_TOPPED and thing.on is None and index not in taken and SIZES[size] < thing.height
    ]
    return int(rng.choice(free)) if free and rng.random() < STACKED_SHARE else None


def _fits(thing: SceneObject, others: list[SceneObject], camera: Camera) -> bool:
    """Whether a solid is wholly in the picture and stands clear of the others."""
    centres, scales = camera.project(np.array([other.centre for other in (thing, *others)]))
    radii = np.array([0.5 * other.height for other in (thing, *others)]) * scales
    if (centres[0] - 1.2 * radii[0] < MARGIN).any() or (centres[0] + 1.2 * radii[0] > 1 - MARGIN).any():
        return False
    for index, other in enumerate(others):
        if index == thing.on:
            continue
        apart = np.hypot(thing.place[0] - other.place[0], thing.place[2] - other.place[2])
        if apart < 0.6 * (thing.height + other.height):
            return False
        if np.linalg.norm(centres[0] - centres[index + 1]) < OVERLAP * (radii[0] + radii[index + 1]):
            return False
    return True


def _by_prominence(objects: list[SceneObject], camera: Camera) -> tuple[SceneObject, ...]:
    """Sort by size in the picture, and keep who stands on whom."""
    scales = camera.project(np.array([thing.centre for thing in objects]))[1]
    order = np.argsort([-scale * thing.height for scale, thing in zip(scales, objects, strict=True)], kind="stable")
    new_index = {int(old): new for new, old in enumerate(order)}
    return tuple(
        objects[old]._replace(on=None if (below := objects[old].on) is None else new_index[below]) for old in order
    )
