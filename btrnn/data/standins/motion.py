"""Human motion from the files that the pybullet package ships, and where they put the body's joints.

The files are in DeepMimic's format (Peng et al., SIGGRAPH 2018): JSON with `Loop` and `Frames`; a frame is
its duration in seconds, the root's position (3), the root's rotation (4), then the joints' rotations in the
order of `JOINTS`: quaternions (w, x, y, z), or one angle about z. Metres; x is forward, y up, z to the right.
The skeleton's measures are those of `pybullet_data/humanoid/humanoid.urdf`, which is four times life-size.
"""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

NUM_VALUES = 44  # numbers in a frame

# name, parent, place in the parent's frame (m), numbers in the file (4: quaternion, 1: angle, 0: rigid)
JOINTS: tuple[tuple[str, str | None, tuple[float, float, float], int], ...] = (
    ("root", None, (0.0, 0.0, 0.0), 4),
    ("chest", "root", (0.0, 0.236, 0.0), 4),
    ("neck", "chest", (0.0, 0.224, 0.0), 4),
    ("right_hip", "root", (0.0, 0.0, 0.085), 4),
    ("right_knee", "right_hip", (0.0, -0.422, 0.0), 1),
    ("right_ankle", "right_knee", (0.0, -0.410, 0.0), 4),
    ("right_shoulder", "chest", (-0.024, 0.244, 0.183), 4),
    ("right_elbow", "right_shoulder", (0.0, -0.275, 0.0), 1),
    ("left_hip", "root", (0.0, 0.0, -0.085), 4),
    ("left_knee", "left_hip", (0.0, -0.422, 0.0), 1),
    ("left_ankle", "left_knee", (0.0, -0.410, 0.0), 4),
    ("left_shoulder", "chest", (-0.024, 0.244, -0.183), 4),
    ("left_elbow", "left_shoulder", (0.0, -0.275, 0.0), 1),
    # Points that only the drawing needs; they move with their parent.
    ("head", "neck", (0.01, 0.175, 0.0), 0),
    ("hair", "neck", (-0.025, 0.215, 0.0), 0),
    ("right_hand", "right_elbow", (0.01, -0.270, 0.0), 0),
    ("right_heel", "right_ankle", (-0.045, -0.045, 0.0), 0),
    ("right_toe", "right_ankle", (0.145, -0.055, 0.0), 0),
    ("left_hand", "left_elbow", (0.01, -0.270, 0.0), 0),
    ("left_heel", "left_ankle", (-0.045, -0.045, 0.0), 0),
    ("left_toe", "left_ankle", (0.145, -0.055, 0.0), 0),
)
JOINT_INDEX = {name: position for position, (name, _, _, _) in enumerate(JOINTS)}
SEAM_SECONDS = 0.1  # from a cyclic motion's last pose back to its first: captured cycles do not close exactly


@dataclass(frozen=True)
class Motion:
    """One captured motion, made cyclic.

    Attributes:
        times: (F,) seconds, ascending from 0; the last is the length of a cycle.
        root: (F, 3) the root's position in metres.
        rotations: (F, 13, 4) unit quaternions (w, x, y, z) of the moving joints, in the order of `JOINTS`.
        travel: (3,) metres that the root moves on in a cycle.
    """

    times: Float[np.ndarray, " F"]
    root: Float[np.ndarray, "F 3"]
    rotations: Float[np.ndarray, "F J 4"]
    travel: Float[np.ndarray, " 3"]


def motion_path(name: str) -> Path:
    """Return the path of the motion file `humanoid3d_<name>.txt` in the installed pybullet package.

    Raises:
        FileNotFoundError: if pybullet is not installed, or has no such motion.
    """
    # The package is only located, not imported: pybullet itself is a large extension that is not needed.
    spec = importlib.util.find_spec("pybullet_data")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the motion files come with the package pybullet: pip install pybullet")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data" / "motions"
    path = folder / f"humanoid3d_{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(file.stem.removeprefix("humanoid3d_") for file in folder.glob("humanoid3d_*.txt")))
        raise FileNotFoundError(f"no motion {name!r} in {folder}; there are: {known or 'none'}")
    return path


@cache
def load_motion(name: str) -> Motion:
    """Read one motion and make it cyclic.

    A motion marked `wrap` goes from its last pose to its first in 0.1 s and keeps the way it has come; any
    other (kick, punch) is played forwards, then backwards.

    Args:
        name: as in `humanoid3d_<name>.txt`.

    Raises:
        FileNotFoundError: as `motion_path`.
        ValueError: if the file does not have 44 numbers a frame.
    """
    path = motion_path(name)
    content = json.loads(path.read_text())
    frames = np.array(content["Frames"], dtype=np.float64)
    if frames.ndim != 2 or frames.shape[1] != NUM_VALUES or len(frames) < 2:
        raise ValueError(f"{path}: expected at least 2 frames of {NUM_VALUES} numbers, got shape {frames.shape}")
    times = np.concatenate([[0.0], np.cumsum(frames[:-1, 0])])
    root = frames[:, 1:4]
    rotations = _rotations(frames[:, 4:])
    if content["Loop"] == "wrap":
        # The seam moves on as the frames around it do.
        step = (root[-1] - root[0]) * SEAM_SECONDS / times[-1]
        travel = root[-1] + step - root[0]
        travel[1] = 0.0
        times = np.append(times, times[-1] + SEAM_SECONDS)
        root = np.concatenate([root, root[:1] + travel])
        rotations = np.concatenate([rotations, rotations[:1]])
    else:
        travel = np.zeros(3)
        times = np.concatenate([times, 2 * times[-1] - times[-2::-1]])
        root = np.concatenate([root, root[-2::-1]])
        rotations = np.concatenate([rotations, rotations[-2::-1]])
    return Motion(times, root, rotations, travel)


def pose_at(
    motion: Motion, seconds: Float[np.ndarray, " T"]
) -> tuple[Float[np.ndarray, "T 3"], Float[np.ndarray, "T J 4"]]:
    """Interpolate the root's position (m) and the rotations at the given times, of any cycle."""
    cycles, within = np.divmod(seconds, motion.times[-1])
    after = np.clip(np.searchsorted(motion.times, within, side="right"), 1, len(motion.times) - 1)
    before = after - 1
    share = ((within - motion.times[before]) / (motion.times[after] - motion.times[before]))[:, None]
    root = (1 - share) * motion.root[before] + share * motion.root[after] + cycles[:, None] * motion.travel
    first, second = motion.rotations[before], motion.rotations[after]
    # q and -q are one rotation: the shorter way. Frames lie close, so that a line does for the arc.
    second = np.where((first * second).sum(axis=-1, keepdims=True) < 0, -second, second)
    return root, _unit((1 - share[..., None]) * first + share[..., None] * second)


def joint_positions(
    root: Float[np.ndarray, "T 3"],
    rotations: Float[np.ndarray, "T J 4"],
    *,
    leg: float = 1.0,
    arm: float = 1.0,
) -> Float[np.ndarray, "T P 3"]:
    """Forward kinematics: where the 21 points of `JOINTS` are, in metres.

    Args:
        root: the root's position.
        rotations: unit quaternions of the 13 moving joints, each relative to its parent.
        leg: length of the legs, 1 as captured.
        arm: length of the arms, 1 as captured.
    """
    matrices = _matrices(rotations)
    positions = np.empty((len(root), len(JOINTS), 3))
    turned: list[Float[np.ndarray, "T 3 3"]] = []
    for index, (name, parent, offset, values) in enumerate(JOINTS):
        if parent is None:
            positions[:, index] = root
            turned.append(matrices[:, index])
            continue
        above = JOINT_INDEX[parent]
        scale = leg if "knee" in name or "ankle" in name else arm if "elbow" in name or "hand" in name else 1.0
        positions[:, index] = positions[:, above] + turned[above] @ (np.array(offset) * scale)
        turned.append(turned[above] @ matrices[:, index] if values else turned[above])
    return positions


def _rotations(values: Float[np.ndarray, "F 40"]) -> Float[np.ndarray, "F J 4"]:
    """Turn a file's rotation columns into unit quaternions, one-angle joints too."""
    rotations, column = [], 0
    for _, _, _, size in JOINTS:
        part = values[:, column : column + size]
        if size == 4:
            rotations.append(part)
        elif size == 1:
            half = part[:, 0] / 2
            zero = np.zeros_like(half)
            rotations.append(np.stack([np.cos(half), zero, zero, np.sin(half)], axis=-1))
        column += size
    return _unit(np.stack(rotations, axis=1))


def _unit(quaternions: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "... 4"]:
    """Scale quaternions to length 1; the files' own are off by up to 0.5 %."""
    unit: Float[np.ndarray, "... 4"] = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    return unit


def _matrices(quaternions: Float[np.ndarray, "T J 4"]) -> Float[np.ndarray, "T J 3 3"]:
    """Rotation matrices of unit quaternions (w, x, y, z)."""
    w, x, y, z = np.moveaxis(quaternions, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
