"""Where rays meet the solids of the scenes.

Each solid stands on y = 0 about the y axis and is 1 high and about 1 wide. A ray is origin + t direction; the
directions need not have length 1. Rays that miss have t = inf.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# The radius of a ball around (0, 0.5, 0) that holds the solid.
REACH = {
    "ball": 0.5,
    "cube": 0.81,
    "cylinder": 0.71,
    "cone": 0.71,
    "pyramid": 0.87,
    "ring": 0.5,
    "star": 0.61,
    "cross": 0.61,
    "house": 0.81,
    "arch": 0.74,
    "chair": 0.76,
    "staircase": 0.81,
    "arrow": 0.54,
    "diamond": 0.5,
}
_TINY = 1e-9
_RING_RADIUS, _TUBE_RADIUS = 0.35, 0.15
_MARCH_STEPS = 40
_MARCH_END = 2e-3  # how near a marched ray must come to the surface


class Hits(NamedTuple):
    """For each ray: t, inf where it misses, and the outward normal (of length 1) at the hit."""

    t: Float[np.ndarray, " n"]
    normals: Float[np.ndarray, "n 3"]


Points = Float[np.ndarray, "n 3"]
Planes = Float[np.ndarray, "pieces planes 4"]


def intersect(shape: str, origins: Points, directions: Points) -> Hits:
    """Return where rays first meet a solid.

    Args:
        shape: One of `layout.SHAPES`.
        origins: (n, 3), outside of the solid.
        directions: (n, 3).

    Raises:
        KeyError: There is no such shape.
    """
    return _SOLIDS[shape](origins, directions)


def _ball(origins: Points, directions: Points) -> Hits:
    centre = origins - np.array([0.0, 0.5, 0.0])
    a, b, c = _dot(directions, directions), _dot(directions, centre), _dot(centre, centre) - 0.25
    discriminant = b * b - a * c
    t = (-b - np.sqrt(np.maximum(discriminant, 0))) / a
    t = np.where((discriminant > 0) & (t > 0), t, np.inf)
    return Hits(t, 2 * _at(centre, directions, t))


def _cylinder(origins: Points, directions: Points) -> Hits:
    ox, oy, oz = origins.T
    dx, dy, dz = directions.T
    a = dx * dx + dz * dz + _TINY
    b, c = ox * dx + oz * dz, ox * ox + oz * oz - 0.25
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    dy = np.where(np.abs(dy) < _TINY, _TINY, dy)
    low, high = np.minimum(-oy / dy, (1 - oy) / dy), np.maximum(-oy / dy, (1 - oy) / dy)
    side = (-b - root) / a
    enter, leave = np.maximum(side, low), np.minimum((-b + root) / a, high)
    t = np.where((discriminant > 0) & (enter < leave) & (enter > 0), enter, np.inf)
    points = _at(origins, directions, t)
    normals = np.where((side >= low)[:, None], points * np.array([2.0, 0.0, 2.0]), -np.sign(dy)[:, None] * [0, 1, 0])
    return Hits(t, normals)


def _cone(origins: Points, directions: Points) -> Hits:
    """Return hits of the side; the base is never seen, as rays come from above or end on the side beyond."""
    apex = origins - np.array([0.0, 1.0, 0.0])
    weights = np.array([1.0, -0.25, 1.0])  # x^2 + z^2 = (y / 2)^2, with y measured from the apex
    a, b, c = (_dot(left * weights, right) for left, right in ((directions,) * 2, (directions, apex), (apex,) * 2))
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    first, second = np.minimum((-b - root) / a, (-b + root) / a), np.maximum((-b - root) / a, (-b + root) / a)
    t = np.full(len(origins), np.inf)
    for candidate in (second, first):
        y = apex[:, 1] + candidate * directions[:, 1]
        t = np.where((discriminant > 0) & (candidate > 0) & (y > -1) & (y < 0), candidate, t)
    normals = _at(apex, directions, t) * weights
    return Hits(t, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), _TINY))


def _ring(origins: Points, directions: Points) -> Hits:
    """March along the rays by the distance to the surface (sphere tracing, Hart 1996)."""
    lengths = np.linalg.norm(directions, axis=1)
    steps = directions / lengths[:, None]
    centre = origins - np.array([0.0, 0.5, 0.0])
    t = np.maximum(-_dot(centre, steps) - 0.55, 0)  # before the ball around the ring
    hit = np.zeros(len(t), dtype=bool)
    alive = np.flatnonzero(_dot(centre, centre) - _dot(centre, steps) ** 2 < 0.5**2)
    for _ in range(_MARCH_STEPS):
        points = centre[alive] + t[alive, None] * steps[alive]
        around = np.hypot(points[:, 0], points[:, 1]) - _RING_RADIUS
        distance = np.hypot(around, points[:, 2]) - _TUBE_RADIUS
        t[alive] += distance
        hit[alive[distance < _MARCH_END]] = True
        alive = alive[(distance >= _MARCH_END) & (_dot(points, steps[alive]) < 0.55)]
    t = np.where(hit, t, np.inf)
    points = _at(centre, steps, t)
    radius = np.maximum(np.hypot(points[:, 0], points[:, 1]), _TINY)
    points[:, :2] *= (1 - _RING_RADIUS / radius)[:, None]
    return Hits(t / lengths, points / _TUBE_RADIUS)


def _flat_sided(planes: Planes) -> Callable[[Points, Points], Hits]:
    """Make the function of a union of convex pieces; each plane is (normal, c) and bounds its piece by n x <= c."""
    planes = planes.astype(np.float32)
    flat = planes.reshape(-1, 4)

    def hits(origins: Points, directions: Points) -> Hits:
        # planes first, rays last: numpy's minima over a short last axis are slow
        shape = (*planes.shape[:2], len(origins))
        slope = flat[:, :3] @ directions.T
        slope[np.abs(slope) < _TINY] = _TINY
        crossing = (flat[:, 3:] - flat[:, :3] @ origins.T) / slope
        entering = np.where(slope < 0, crossing, -np.inf).reshape(shape)
        enter = entering.max(axis=1)
        leave = np.where(slope > 0, crossing, np.inf).reshape(shape).min(axis=1)
        t = np.where((enter < leave) & (enter > 0), enter, np.inf)
        piece = t.argmin(axis=0)
        rays = np.arange(len(origins))
        return Hits(t[piece, rays], planes[piece, entering[piece, :, rays].argmax(axis=1), :3])

    return hits


def _box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Float[np.ndarray, "6 4"]:
    eye = np.eye(3)
    return np.concatenate([np.c_[eye, np.array(high)], np.c_[-eye, -np.array(low)]])


def _pyramid() -> Planes:
    sides = [np.array([x, 0.5, z, 0.5]) / np.hypot(1, 0.5) for x, z in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return np.array([[*sides, [0.0, -1.0, 0.0, 0.0]]])


def _star() -> Planes:
    """Return a five-pointed star that stands upright, as five kites that meet in its middle."""
    angles = np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 0.55, 0.55 * 0.45)
    corners = np.c_[radii * np.cos(angles), radii * np.sin(angles) + 0.45]
    pieces = []
    for tip in range(0, 10, 2):
        outline = np.array([corners[tip - 1], [0.0, 0.45], corners[(tip + 1) % 10], corners[tip]])
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.c_[edges[:, 1], -edges[:, 0]] / np.linalg.norm(edges, axis=1, keepdims=True)
        inside = outline.mean(axis=0)
        normals *= np.sign(((outline - inside) * normals).sum(axis=1, keepdims=True))
        bounds = (outline * normals).sum(axis=1)
        sides = np.c_[normals, np.zeros(4), bounds]
        pieces.append(np.concatenate([sides, [[0, 0, 1, 0.15], [0, 0, -1, 0.15]]]))
    return np.array(pieces)


def _cross() -> Planes:
    return _union(_box((-0.16, 0.0, -0.16), (0.16, 1.0, 0.16)), _box((-0.5, 0.34, -0.16), (0.5, 0.66, 0.16)))


def _house() -> Planes:
    """Return four walls, and a roof that slopes to both sides."""
    slopes = [_slope((side * 0.5, 0.55), (0.0, 1.0)) for side in (1, -1)]
    roof = np.array([*slopes, [0, -1, 0, -0.55], [0, 0, 1, 0.45], [0, 0, -1, 0.45]])
    return _union(_box((-0.45, 0.0, -0.4), (0.45, 0.55, 0.4)), roof)


def _arch() -> Planes:
    """Return two pillars and what lies on them."""
    pillars = [_box((x - 0.13, 0.0, -0.2), (x + 0.13, 0.7, 0.2)) for x in (-0.37, 0.37)]
    return _union(*pillars, _box((-0.5, 0.7, -0.2), (0.5, 1.0, 0.2)))


def _chair() -> Planes:
    """Return a seat on four legs, with a back at its far side."""
    legs = [_box((x - 0.07, 0.0, z - 0.07), (x + 0.07, 0.4, z + 0.07)) for x in (-0.33, 0.33) for z in (-0.33, 0.33)]
    return _union(*legs, _box((-0.4, 0.4, -0.4), (0.4, 0.52, 0.4)), _box((-0.4, 0.52, -0.4), (0.4, 1.0, -0.26)))


def _staircase() -> Planes:
    """Return three steps that go up to the right."""
    return _union(*(_box((k * 0.3 - 0.45, 0.0, -0.35), (k * 0.3 - 0.15, (k + 1) / 3, 0.35)) for k in range(3)))


def _arrow() -> Planes:
    """Return an arrow that points up."""
    slopes = [_slope((side * 0.48, 0.5), (0.0, 1.0)) for side in (1, -1)]
    head = np.array([*slopes, [0, -1, 0, -0.5], [0, 0, 1, 0.16], [0, 0, -1, 0.16]])
    return _union(_box((-0.16, 0.0, -0.16), (0.16, 0.5, 0.16)), head)


def _diamond() -> Planes:
    """Return two pyramids base to base, an octahedron."""
    signs = np.array(np.meshgrid(*[(1, -1)] * 3)).reshape(3, 8).T
    normals = signs / [0.45, 0.5, 0.45]
    # |x| / 0.45 + |y - 0.5| / 0.5 + |z| / 0.45 <= 1, each plane with a normal of length 1
    planes = np.c_[normals, 1 + 0.5 * normals[:, 1]] / np.linalg.norm(normals, axis=1, keepdims=True)
    return np.array([planes])


def _slope(low: tuple[float, float], high: tuple[float, float]) -> Float[np.ndarray, " 4"]:
    """Return the plane along z through two points (x, y), what is above it outside."""
    (x, y), (x_high, y_high) = low, high
    normal = np.sign(x - x_high) * np.array([y_high - y, x - x_high]) / np.hypot(y_high - y, x - x_high)
    return np.array([*normal, 0.0, normal @ [x, y]])


def _union(*pieces: Float[np.ndarray, "_ 4"]) -> Planes:
    """Put pieces together; one with fewer planes than another repeats its last."""
    most = max(map(len, pieces))
    return np.stack([np.concatenate([piece, piece[-1:].repeat(most - len(piece), axis=0)]) for piece in pieces])


def _dot(left: Points, right: Points) -> Float[np.ndarray, " n"]:
    product: Float[np.ndarray, " n"] = np.einsum("ni,ni->n", left, right)
    return product


def _at(origins: Points, directions: Points, t: Float[np.ndarray, " n"]) -> Points:
    """Return the points of the hits; of a miss the origin."""
    points: Points = origins + np.where(np.isfinite(t), t, 0)[:, None] * directions
    return points


_SOLIDS: dict[str, Callable[[Points, Points], Hits]] = {
    "ball": _ball,
    "cube": _flat_sided(_box((-0.45, 0.0, -0.45), (0.45, 1.0, 0.45))[None]),
    "cylinder": _cylinder,
    "cone": _cone,
    "pyramid": _flat_sided(_pyramid()),
    "ring": _ring,
    "star": _flat_sided(_star()),
    "cross": _flat_sided(_cross()),
    "house": _flat_sided(_house()),
    "arch": _flat_sided(_arch()),
    "chair": _flat_sided(_chair()),
    "staircase": _flat_sided(_staircase()),
    "arrow": _flat_sided(_arrow()),
    "diamond": _flat_sided(_diamond()),
}
