"""A scene as a picture: rays through every pixel, two a side, to the ground and the solids; one lamp, its shadows."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from btrnn.data.standins.grounds import Colours, paint_ground
from btrnn.data.standins.layout import COLOURS, IMAGE_SIZE, Scene, SceneObject
from btrnn.data.standins.solids import REACH, intersect

SAMPLES = 2  # rays a pixel along each side: edges are smooth
SHADOW_SIZE = 112  # pixels a side at which shadows are looked for; enlarged, their edges are soft
SHADOW, AMBIENT = 0.45, 0.42  # share of light that a shadow takes, and that comes from everywhere
CONTACT = 0.3  # how much darker a solid is at its foot

_RGB = dict(
    zip(
        COLOURS,
        (
            (205, 38, 36),
            (242, 132, 28),
            (242, 214, 48),
            (44, 152, 58),
            (46, 198, 190),
            (38, 78, 205),
            (128, 52, 170),
            (242, 138, 182),
            (240, 240, 236),
            (36, 36, 40),
        ),
        strict=True,
    )
)

Vectors = Float[np.ndarray, "n 3"]


def draw_scene(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "224 224 3"]:
    """Draw a scene.

    Args:
        scene: What stands where.
        rng: Draws the ground's texture, the tones of the colours and the camera's noise.

    Returns:
        Red, green, blue.
    """
    size = SAMPLES * IMAGE_SIZE
    light = np.array(scene.light) / np.linalg.norm(scene.light)
    directions = _directions(scene, size)
    picture, depth = _backdrop(scene, directions, rng)
    picture *= 1 - SHADOW * _shadows(scene, light, size)
    for thing in scene.objects:
        around = _pixels_around(scene, thing, size)
        _draw_object(scene, thing, around, directions, light, picture, depth, rng)
    square = picture.reshape(3, size, size)
    # the mean of each pixel's rays, as a sum of slices: many times faster than numpy's mean over two short axes
    total = sum(square[:, row::SAMPLES, column::SAMPLES] for row in range(SAMPLES) for column in range(SAMPLES))
    pixels = 255 * scene.brightness / SAMPLES**2 * total + rng.normal(0, 2.5, (IMAGE_SIZE, IMAGE_SIZE))
    return np.ascontiguousarray(np.moveaxis(np.clip(pixels, 0, 255).round().astype(np.uint8), 0, 2))


def _directions(scene: Scene, size: int) -> Vectors:
    """Return the direction in which each pixel of a square picture is seen, row by row; 1 along the camera's axis."""
    steps = (((np.arange(size) + 0.5) / size - 0.5) / scene.camera.focal).astype(np.float32)
    right, down, forward = scene.camera.axes().astype(np.float32)
    # a row and a column suffice, since the direction is the sum of a part of either
    directions: Vectors = ((steps[:, None] * right) + (steps[:, None] * down + forward)[:, None]).reshape(-1, 3)
    return directions


def _on_ground(scene: Scene, directions: Vectors) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return x and z of the ground that is seen; what lies beyond 60 units counts as 60 units away."""
    x, y, z = scene.camera.position
    t = y / np.maximum(-directions[:, 1], y / 60)
    return x + t * directions[:, 0], z + t * directions[:, 2]


def _backdrop(scene: Scene, directions: Vectors, rng: np.random.Generator) -> tuple[Colours, Float[np.ndarray, " n"]]:
    """Paint the ground, in haze far away, and return it with an empty depth buffer."""
    x, z = _on_ground(scene, directions)
    picture = paint_ground(scene.ground, x, z, rng)
    haze = np.clip((-z - 4) / 26, 0, 0.85)
    tone = (rng.uniform(0.7, 0.85) + rng.normal(0, 0.03, (3, 1))).astype(np.float32)
    picture += (tone - picture) * haze
    return picture, np.full(len(directions), np.inf, dtype=np.float32)


def _shadows(scene: Scene, light: Float[np.ndarray, " 3"], size: int) -> Float[np.ndarray, " n"]:
    """Return how much of each pixel's ground lies in shadow, 0 to 1."""
    x, z = _on_ground(scene, _directions(scene, SHADOW_SIZE))
    dark = np.zeros(len(x), dtype=np.float32)
    for thing in scene.objects:
        # a shadow falls within this distance of the foot of what throws it
        reach = 0.8 * thing.height + (thing.place[1] + thing.height) * np.hypot(light[0], light[2]) / light[1]
        near = np.flatnonzero(np.hypot(x - thing.place[0], z - thing.place[2]) < reach)
        origins = _to_local(thing, np.stack([x[near], np.full(len(near), 1e-3), z[near]], axis=1))
        towards = np.broadcast_to(_turned(thing, light[None]), origins.shape)
        dark[near[np.isfinite(intersect(thing.shape, origins, towards).t)]] = 1
    image = Image.fromarray(dark.reshape(SHADOW_SIZE, SHADOW_SIZE)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).ravel()


def _pixels_around(scene: Scene, thing: SceneObject, size: int) -> np.ndarray:
    """Return the numbers of the pixels in a circle around a solid."""
    (middle,), (scale,) = scene.camera.project(np.array([thing.centre]))
    # a tenth more, since perspective makes an ellipse of a ball and its near side larger
    radius = 1.1 * REACH[thing.shape] * thing.height * scale * size
    across, down = middle * size - 0.5
    rows = np.arange(max(int(down - radius), 0), min(int(down + radius) + 2, size))[:, None]
    columns = np.arange(max(int(across - radius), 0), min(int(across + radius) + 2, size))
    inside = (rows - down) ** 2 + (columns - across) ** 2 < radius**2
    pixels: np.ndarray = (rows * size + columns)[inside]
    return pixels


def _draw_object(
    scene: Scene,
    thing: SceneObject,
    pixels: np.ndarray,
    directions: Vectors,
    light: Float[np.ndarray, " 3"],
    picture: Colours,
    depth: Float[np.ndarray, " n"],
    rng: np.random.Generator,
) -> None:
    """Draw a solid where it is nearer than what is there, in place."""
    seen = directions[pixels]
    rays = _turned(thing, seen) / np.float32(thing.height)
    origin = _to_local(thing, np.array([scene.camera.position]))
    hits = intersect(thing.shape, np.broadcast_to(origin, rays.shape), rays)
    colour = np.array(_RGB[thing.colour]) / 255 + rng.normal(0, 0.02, 3)
    front = np.flatnonzero(hits.t < depth[pixels])
    points = origin + hits.t[front, None] * rays[front]
    local_light = _turned(thing, light[None])[0]
    towards_eye = -rays[front] / np.linalg.norm(rays[front], axis=1, keepdims=True)
    shaded = _shade(thing.material, colour, points, hits.normals[front], local_light, towards_eye)
    picture[:, pixels[front]] = shaded.T
    depth[pixels[front]] = hits.t[front]


def _shade(
    material: str,
    colour: Float[np.ndarray, " 3"],
    points: Vectors,
    normals: Vectors,
    light: Float[np.ndarray, " 3"],
    towards_eye: Vectors,
) -> Vectors:
    """Return the colours of points of a solid, all in its own coordinates."""
    other = 0.4 * colour if colour.mean() > 0.45 else 0.35 * colour + 0.65
    albedo = np.where(_pattern(material, points, normals)[:, None], other, colour)
    diffuse = np.maximum(normals @ light, 0)
    foot = 1 - CONTACT * np.exp(-8 * np.maximum(points[:, 1], 0))
    shaded: Vectors = albedo * ((AMBIENT + 0.75 * diffuse) * foot)[:, None]
    if material == "shiny":
        halfway = light + towards_eye
        halfway /= np.linalg.norm(halfway, axis=1, keepdims=True)
        gloss = np.einsum("ni,ni->n", normals, halfway).clip(0, 1)
        mirrored = 2 * np.einsum("ni,ni->n", normals, towards_eye)[:, None] * normals - towards_eye
        sky = 0.28 * np.clip(mirrored[:, 1] * 1.5, 0, 1)  # above is bright, the ground is not
        shaded = 0.85 * shaded + (sky + 0.9 * gloss**50)[:, None]
    return shaded


def _pattern(material: str, points: Vectors, normals: Vectors) -> np.ndarray:
    """Tell where a material shows its second colour."""
    if material == "striped":
        bands: np.ndarray = (points[:, 1] * 8 + 0.5) % 2 < 1
        return bands
    if material in ("matte", "shiny"):
        return np.zeros(len(points), dtype=bool)
    # The pattern lies in the plane of the two axes to which the surface is most nearly parallel.
    axis = np.abs(normals).argmax(axis=1)
    rays = np.arange(len(points))
    across, along = points[rays, (axis + 1) % 3], points[rays, (axis + 2) % 3]
    if material == "checked":
        squares: np.ndarray = (np.floor(across * 5) + np.floor(along * 5)) % 2 == 0
        return squares
    spots: np.ndarray = np.hypot(across * 4.5 % 1 - 0.5, along * 4.5 % 1 - 0.5) < 0.3
    return spots


def _turned(thing: SceneObject, vectors: Vectors) -> Vectors:
    """Turn vectors into a solid's own axes."""
    cos, sin = np.cos(thing.turn), np.sin(thing.turn)
    turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=np.float32)
    turned: Vectors = vectors @ turn.T
    return turned


def _to_local(thing: SceneObject, points: Vectors) -> Vectors:
    """Bring points into a solid's own coordinates."""
    return _turned(thing, points - np.array(thing.place)) / thing.height
