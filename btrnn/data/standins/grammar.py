"""Five true captions of a scene, each in another form of sentence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from btrnn.data.standins.layout import Scene, SceneObject
from btrnn.data.standins.lexicon import (
    COLOUR_WORDS,
    GROUND_PHRASES,
    MATERIAL_WORDS,
    NUMBER_WORDS,
    RELATION_PHRASES,
    SHAPE_WORDS,
    SIZE_WORDS,
    THINGS,
    choose,
)

NUM_CAPTIONS = 5
ASIDE = 0.15  # of the picture's width, from which one thing is left of another
DEPTH = 1.0  # units, from which one thing is in front of another
NEAR, FAR = 0.9, 2.4  # gaps between two things, in units, below and above which they are near and far
LEFT, RIGHT, MIDDLE = 0.36, 0.64, 0.07  # of the picture's width: where its sides begin, and how wide its middle is
FRONT, BACK = 1.2, -1.2  # z where foreground begins and background ends
_SIZE_NAMED = {"small": 0.5, "medium": 0.12, "large": 0.5}  # how often a caption says it
_MATERIAL_NAMED = {"matte": 0.25, "shiny": 0.5, "striped": 0.6, "spotted": 0.6, "checked": 0.6}
_VERBS = ("is", "stands", "sits", "is standing", "is placed")


def relations(scene: Scene, first: int, second: int) -> list[str]:
    """Name what is true of one solid's place with respect to another's, by keys of `RELATION_PHRASES`.

    Left and right are those of the picture; in front is nearer to the camera. Of a solid that stands on another it is
    only said that it is on it.
    """
    one, other = scene.objects[first], scene.objects[second]
    if one.on == second:
        return ["on"]
    if other.on == first:
        return ["under"]
    positions = scene.picture_positions()
    aside = positions[second, 0] - positions[first, 0]
    nearer = one.place[2] - other.place[2]
    gap = np.hypot(one.place[0] - other.place[0], nearer) - 0.5 * (one.height + other.height)
    level = one.on is None and other.on is None
    holds = {
        "left": aside >= ASIDE,
        "right": aside <= -ASIDE,
        "front": nearer >= DEPTH,
        "behind": nearer <= -DEPTH,
        "near": gap <= NEAR and level,
        "far": gap >= FAR,
    }
    return [name for name, true in holds.items() if true]


def describe(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Say five true things of a scene, no two in the same words.

    Args:
        scene: What stands where.
        rng: Draws forms of sentences, what they speak of, and synonyms.
    """
    teller = _Teller(scene, rng)
    captions: list[str] = []
    while len(captions) < NUM_CAPTIONS:
        # every form once, the likeliest first; again from the start if too few of them say anything of this scene
        weights = np.array(list(_FORMS.values()))
        for index in np.argsort(rng.exponential(size=len(weights)) / weights):
            caption = list(_FORMS)[index](teller)
            if caption is not None and caption not in captions and len(captions) < NUM_CAPTIONS:
                captions.append(caption)
    return captions


@dataclass
class _Teller:
    """Puts what is true of a scene into words."""

    scene: Scene
    rng: np.random.Generator

    @cached_property
    def positions(self) -> Float[np.ndarray, "objects 2"]:
        return self.scene.picture_positions()

    def pick(self, *words: str) -> str:
        """Draw one of some wordings, each alike."""
        return words[self.rng.integers(len(words))]

    def some(self, count: int) -> list[int]:
        """Draw solids; the more they strike the eye, the sooner they come."""
        order = np.argsort(self.rng.exponential(size=len(self.scene.objects)) * 3.0 ** np.arange(len(self.positions)))
        return [int(index) for index in order[:count]]

    def name(self, index: int) -> str:
        """Return such as "a large striped red cube"."""
        thing: SceneObject = self.scene.objects[index]
        words = []
        if self.rng.random() < _SIZE_NAMED[thing.size]:
            words.append(choose(self.rng, SIZE_WORDS[thing.size]))
        if self.rng.random() < _MATERIAL_NAMED[thing.material]:
            words.append(choose(self.rng, MATERIAL_WORDS[thing.material]))
        words += [choose(self.rng, COLOUR_WORDS[thing.colour], 0.85), choose(self.rng, SHAPE_WORDS[thing.shape])]
        return f"{'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"

    def names(self, indices: list[int]) -> str:
        """Return such as "a red cube, a blue ball and a green star"."""
        *others, last = [self.name(index) for index in indices]
        return f"{', '.join(others)} and {last}" if others else last

    def ground(self) -> str:
        return f"on {choose(self.rng, GROUND_PHRASES[self.scene.ground], 0.4)}"

    def maybe_ground(self) -> str:
        return f" {self.ground()}" if self.rng.random() < 0.5 else ""

    def stacked(self, index: int) -> bool:
        """Whether a solid stands on another, and so not on the ground."""
        return self.scene.objects[index].on is not None

    def things(self) -> str:
        return choose(self.rng, THINGS, 0.4)

    def count(self) -> str:
        return NUMBER_WORDS[len(self.scene.objects)]

    def relation(self, first: int, second: int) -> str | None:
        """Return such as "to the left of", or None where no relation holds."""
        true = relations(self.scene, first, second)
        return choose(self.rng, RELATION_PHRASES[self.pick(*true)]) if true else None

    def place(self, index: int) -> str | None:
        """Return where in the picture a solid is, or None where that has no word."""
        across, z = self.positions[index, 0], self.scene.objects[index].place[2]
        phrases = []
        if across < LEFT:
            phrases.append(self.pick("on the left", "on the left side", "at the left"))
        if across > RIGHT:
            phrases.append(self.pick("on the right", "on the right side", "at the right"))
        if abs(across - 0.5) < MIDDLE:
            phrases.append(self.pick("in the middle", "in the centre"))
        if z > FRONT:
            phrases.append(self.pick("in the foreground", "at the front"))
        if z < BACK:
            phrases.append(self.pick("in the background", "at the back"))
        return self.pick(*phrases) if phrases else None


def _related(teller: _Teller) -> str | None:
    first, second = teller.some(2)
    relation = teller.relation(first, second)
    if relation is None:
        return None
    return f"{teller.name(first)} {teller.pick(*_VERBS)} {relation} {teller.name(second)}{teller.maybe_ground()}"


def _there_is(teller: _Teller) -> str | None:
    first, second = teller.some(2)
    relation = teller.relation(first, second)
    opening = teller.pick("there is", "we see", "you can see", "someone has put")
    return None if relation is None else f"{opening} {teller.name(first)} {relation} {teller.name(second)}"


def _on_top(teller: _Teller) -> str | None:
    upper = next((index for index, thing in enumerate(teller.scene.objects) if thing.on is not None), None)
    if upper is None:
        return None
    lower = teller.scene.objects[upper].on
    assert lower is not None
    return f"{teller.name(upper)} {teller.pick(*_VERBS)} {teller.relation(upper, lower)} {teller.name(lower)}"


def _picture(teller: _Teller) -> str:
    opening = teller.pick("a picture", "an image", "a photo", "a view")
    named = teller.names(teller.some(3))
    return f"{opening} {teller.pick('of', 'showing', 'with')} {named}{teller.maybe_ground()}"


def _counted(teller: _Teller) -> str:
    loose = () if any(map(teller.stacked, range(len(teller.scene.objects)))) else ("stand", "are scattered")
    verb = teller.pick("are arranged", "have been placed", "can be seen", *loose)
    one = teller.pick("one of them is", "among them is", "one of these is")
    return f"{teller.count()} {teller.things()} {verb} {teller.ground()} and {one} {teller.name(teller.some(1)[0])}"


def _placed(teller: _Teller) -> str | None:
    first, second = teller.some(2)
    place, other = teller.place(first), teller.place(second)
    if place is None:
        return None
    start = f"{teller.name(first)} {teller.pick(*_VERBS, 'is seen')} {place}"
    if other is None or other == place:
        return f"{start}{teller.pick(' of the picture', ' of the scene', '')}"
    return f"{start} and {teller.name(second)} {other}"


def _grounded(teller: _Teller) -> str | None:
    standing = [index for index in teller.some(int(teller.rng.integers(2, 4))) if not teller.stacked(index)]
    if len(standing) < 2:
        return None
    return f"{teller.ground()} {teller.pick('there are', 'stand', 'rest', 'we find')} {teller.names(standing)}"


def _between(teller: _Teller) -> str | None:
    if len(teller.scene.objects) < 3:
        return None
    left, middle, right = sorted(teller.some(3), key=lambda index: teller.positions[index, 0])
    across = teller.positions[[left, middle, right], 0]
    depths = [teller.scene.objects[index].place[2] for index in (left, middle, right)]
    apart = np.diff(across).min() >= ASIDE and min(depths[0], depths[2]) - 1 <= depths[1] <= max(depths[::2]) + 1
    if not apart or any(map(teller.stacked, (left, middle, right))):
        return None
    return f"{teller.name(middle)} {teller.pick(*_VERBS)} between {teller.name(left)} and {teller.name(right)}"


def _largest(teller: _Teller) -> str | None:
    heights = [thing.height for thing in teller.scene.objects]
    if len(heights) < 3 or heights.count(max(heights)) > 1:
        return None
    start = f"the {teller.pick('largest', 'biggest', 'tallest')} of the {teller.count()} {teller.things()} is "
    largest = start + teller.name(heights.index(max(heights)))
    if heights.count(min(heights)) > 1 or teller.rng.random() < 0.5:
        return largest
    return f"{largest} and the smallest is {teller.name(heights.index(min(heights)))}"


def _with_another(teller: _Teller) -> str | None:
    first, second = teller.some(2)
    true = relations(teller.scene, second, first)
    phrases = {
        "left": ("to its left", "left of it"),
        "right": ("to its right", "right of it"),
        "front": ("in front of it",),
        "behind": ("behind it", "further back"),
        "near": ("next to it", "beside it", "close by"),
        "far": ("far from it", "in some distance"),
        "on": ("on top of it", "on it"),
        "under": ("under it", "below it"),
    }
    if not true:
        return None
    relation = choose(teller.rng, phrases[teller.pick(*true)])
    return f"{teller.name(first)} with {teller.name(second)} {relation}{teller.maybe_ground()}"


def _two_relations(teller: _Teller) -> str | None:
    if len(teller.scene.objects) < 3:
        return None
    first, second, third = teller.some(3)
    relation, other = teller.relation(first, second), teller.relation(third, second)
    if relation is None or other is None:
        return None
    joined = teller.pick("while", "and")
    return (
        f"{teller.name(first)} is {relation} {teller.name(second)} {joined} {teller.name(third)} "
        f"is {other} {teller.pick('the latter', 'it')}"
    )


def _group(teller: _Teller) -> str | None:
    index = teller.some(1)[0]
    place = teller.place(index)
    if place is None:
        return None
    group = teller.pick("a group", "a set", "a collection", "an arrangement", "a scene")
    return f"{group} of {teller.count()} {teller.things()} with {teller.name(index)} {place}"


def _together(teller: _Teller) -> str:
    first, *others = teller.some(3)
    joined = teller.pick("together with", "along with", "and also", "accompanied by")
    return f"{teller.name(first)} {joined} {teller.names(others)}{teller.maybe_ground()}"


_FORMS: dict[Callable[[_Teller], str | None], float] = {
    _related: 3.0,
    _there_is: 2.0,
    _on_top: 3.0,
    _picture: 2.0,
    _counted: 1.0,
    _placed: 1.5,
    _grounded: 1.5,
    _between: 1.0,
    _largest: 0.7,
    _with_another: 2.0,
    _two_relations: 1.0,
    _group: 0.7,
    _together: 1.5,
}
