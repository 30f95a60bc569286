"""One clip of the stand-in: who is seen, where, in what light, all drawn at random from its numbers."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8

from btrnn.data.standins.backgrounds import BACKGROUNDS, paint_background, pan
from btrnn.data.standins.figure import HEIGHT, WIDTH, Camera, Colour, Figure, Person
from btrnn.data.standins.motion import joint_positions, load_motion, pose_at

ACTION_CLASSES: dict[str, str] = {
    name: f"v_{name}"
    for name in (
        "walk",
        "run",
        "jump",
        "kick",
        "punch",
        "spinkick",
        "dance_a",
        "cartwheel",
        "backflip",
        "crawl",
        "roll",
    )
}
FRAMES_PER_SECOND = 30

# What the difficulty hangs on; see `actions.py`.
PALETTE_STEPS = (0, 4)  # class k draws its groups' backgrounds from palettes k and k + 4
COLOUR_SPREAD = 30.0  # grey levels (standard deviation) between a group's colours and its palette's

_SKIN: tuple[Colour, ...] = ((235, 190, 160), (210, 160, 125), (165, 115, 80), (110, 75, 55))
_HAIR: tuple[Colour, ...] = ((35, 28, 25), (85, 55, 35), (190, 150, 90), (120, 120, 120))


@dataclass(frozen=True)
class _Group:
    """What the clips of a group share."""

    person: Person
    figure: Figure
    background: UInt8[np.ndarray, "240 640 3"]
    camera: Camera
    heading: float
    floor_row: int
    noise: float


def class_palettes(class_index: int) -> tuple[str, ...]:
    """Name the two palettes of a class; at least one of them is another class's too."""
    names = list(BACKGROUNDS)
    return tuple(names[(class_index + step) % len(names)] for step in PALETTE_STEPS)


def draw_clip(seed: int, class_index: int, group: int, clip: int) -> UInt8[np.ndarray, "T 240 320 3"]:
    """Draw one clip; it is a function of the four numbers alone.

    Args:
        seed: of the whole set, not negative.
        class_index: position in `ACTION_CLASSES`.
        group: from 1.
        clip: number in its group, from 1.

    Returns:
        30 to 75 frames, red, green, blue.
    """
    shared = _group(seed, class_index, group)
    rng = np.random.default_rng([seed, class_index, group, clip])
    num_frames = int(rng.integers(FRAMES_PER_SECOND, 2 * FRAMES_PER_SECOND + FRAMES_PER_SECOND // 2 + 1))
    motion = load_motion(list(ACTION_CLASSES)[class_index])
    start = rng.uniform(0, motion.times[-1])
    speed = rng.uniform(0.85, 1.2)
    heading = shared.heading + np.pi * rng.integers(2) + rng.normal(0, 0.2)
    size = rng.uniform(0.92, 1.08)
    aside, down = rng.uniform(-28, 28), rng.uniform(-5, 9)

    seconds = start + speed * np.arange(num_frames) / FRAMES_PER_SECOND
    root, rotations = pose_at(motion, seconds)
    points = joint_positions(root, rotations, leg=shared.person.leg, arm=shared.person.arm) * shared.person.size
    # Other proportions would let the feet float or sink; the lowest point of the clip stands on the ground.
    points[..., 1] -= shared.figure.lowest(points).min()
    turn = np.array([[np.cos(heading), 0, np.sin(heading)], [0, 1, 0], [-np.sin(heading), 0, np.cos(heading)]])
    points = points @ turn.T
    # The camera goes along with the person at an even pace: what remains is the motion about that.
    pace = np.polynomial.polynomial.polyfit(np.arange(num_frames), points[:, 0], 1)
    path = np.arange(num_frames)[:, None] * pace[1] + pace[0]
    points[..., 0] -= path[:, :1]
    points[..., 2] -= path[:, 2:]

    camera = Camera(
        focal=shared.camera.focal * size,
        distance=shared.camera.distance,
        pitch=shared.camera.pitch,
        centre=(shared.camera.centre[0] + aside, shared.camera.centre[1] + down),
        height=shared.camera.height,
    )
    feet, _, scale = camera.project(np.zeros((1, 3)))
    shift = rng.uniform(0, 60) + path[:, 0] * scale[0]
    frames = pan(
        shared.background,
        shift,
        floor_row=shared.floor_row,
        horizon=shared.camera.horizon(),
        feet_row=float(feet[0, 1]),
    )
    shared.figure.draw(frames, points, camera)
    _add_noise(frames, rng, shared.noise)
    return frames


@lru_cache(maxsize=4)
def _group(seed: int, class_index: int, group: int) -> _Group:
    """Draw what the clips of a group share. Clip numbers start at 1, so 0 is free for it."""
    rng = np.random.default_rng([seed, class_index, group, 0])
    brightness = rng.uniform(0.75, 1.1)
    warmth = rng.normal(0, 0.05)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    light = np.array([rng.uniform(-0.9, 0.9), rng.uniform(0.7, 1.2), rng.uniform(0.2, 0.9)])

    skin = _SKIN[rng.integers(len(_SKIN))]
    shirt, trousers = _cloth(rng), _cloth(rng)
    colours = {
        "skin": skin,
        "hair": _HAIR[rng.integers(len(_HAIR))],
        "shirt": shirt,
        "trousers": trousers,
        "shoes": _cloth(rng),
        "forearms": shirt if rng.random() < 0.4 else skin,
        "shins": trousers if rng.random() < 0.6 else skin,
    }
    person = Person(
        size=rng.uniform(0.92, 1.08),
        leg=rng.uniform(0.95, 1.05),
        arm=rng.uniform(0.95, 1.05),
        width=rng.uniform(0.88, 1.25),
        colours=colours,
    )
    distance = rng.uniform(4.0, 7.0)
    pitch = rng.uniform(0.05, 0.22)
    # The body, 1.7 m high, fills 60 to 74 % of the frame's height.
    focal = rng.uniform(0.60, 0.74) * HEIGHT * distance / 1.7
    camera = Camera(focal, distance, pitch, (WIDTH / 2, HEIGHT * 0.55), 0.85)
    wall_behind = np.array([[0.0, 0.0, -rng.uniform(1.2, 5.0)]])
    floor_row = int(camera.project(wall_behind)[0][0, 1])
    palettes = class_palettes(class_index)
    scene = BACKGROUNDS[palettes[rng.integers(len(palettes))]]
    background = paint_background(
        scene, rng, floor_row=floor_row, colour_spread=COLOUR_SPREAD, brightness=brightness, tint=tint
    )
    return _Group(
        person=person,
        figure=Figure(person, light, brightness * 1.15, tint),
        background=background,
        camera=camera,
        heading=rng.uniform(-0.7, 0.7),
        floor_row=floor_row,
        noise=rng.uniform(2.0, 5.0),
    )


def _cloth(rng: np.random.Generator) -> Colour:
    """Draw a colour of any hue, from dark to bright."""
    red, green, blue = rng.integers(25, 236, 3).tolist()
    return red, green, blue


def _add_noise(frames: UInt8[np.ndarray, "T 240 320 3"], rng: np.random.Generator, strength: float) -> None:
    """Add the camera's noise, the same on all channels, in place: one tile, laid anew in every frame."""
    margin = 32
    tile = np.round(rng.normal(0, strength, (HEIGHT + margin, WIDTH + margin, 1))).astype(np.int16)
    places = rng.integers(0, margin, (len(frames), 2)).tolist()
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[...] = np.clip(frame + tile[row : row + HEIGHT, column : column + WIDTH], 0, 255)
