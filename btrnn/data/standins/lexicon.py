"""The words of the scenes' captions, and what a caption says of colours and shapes."""

from itertools import pairwise

import numpy as np

from btrnn.data.captions.vocabulary import words_of

# The first word is the usual one; see `choose`.
SHAPE_WORDS = {
    "ball": ("ball", "sphere", "globe"),
    "cube": ("cube", "box", "block"),
    "cylinder": ("cylinder", "drum", "can"),
    "cone": ("cone",),
    "pyramid": ("pyramid",),
    "ring": ("ring", "hoop", "doughnut"),
    "star": ("star",),
    "cross": ("cross", "plus"),
    "house": ("house", "cottage", "hut"),
    "arch": ("arch", "gate"),
    "chair": ("chair", "seat"),
    "staircase": ("staircase", "stairway"),
    "arrow": ("arrow",),
    "diamond": ("diamond", "gem"),
}
COLOUR_WORDS = {
    "red": ("red", "scarlet"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "turquoise": ("turquoise", "cyan", "aqua"),
    "blue": ("blue", "cobalt"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rosy"),
    "white": ("white", "ivory"),
    "black": ("black", "jet-black"),
}
SIZE_WORDS = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium-sized", "mid-sized"),
    "large": ("large", "big", "huge"),
}
MATERIAL_WORDS = {
    "matte": ("matte", "plain", "dull"),
    "shiny": ("shiny", "glossy", "polished"),
    "striped": ("striped", "banded"),
    "spotted": ("spotted", "dotted", "polka-dot"),
    "checked": ("checked", "checkered", "chequered"),
}
GROUND_PHRASES = {
    "grass": ("the grass", "a lawn", "a green meadow", "grassy ground"),
    "sand": ("the sand", "a sandy beach", "sandy ground", "rippled sand"),
    "wood": ("a wooden floor", "wooden boards", "brown planks", "a floor made of wood"),
    "tiles": ("a tiled floor", "pale tiles", "floor tiles", "a floor of square tiles"),
    "bricks": ("a brick pavement", "paving bricks", "a floor made of bricks", "brickwork"),
    "carpet": ("a patterned carpet", "a woven rug", "the carpet", "a carpet with diamonds"),
}
NUMBER_WORDS = {2: "two", 3: "three", 4: "four"}
THINGS = ("objects", "shapes", "things", "toys", "solids", "items")

RELATION_PHRASES = {
    "left": ("to the left of", "left of", "on the left side of"),
    "right": ("to the right of", "right of", "on the right side of"),
    "front": ("in front of", "nearer than", "closer to the camera than"),
    "behind": ("behind", "further away than"),
    "on": ("on top of", "on", "above", "balanced on"),
    "under": ("under", "below", "beneath", "underneath"),
    "near": ("next to", "beside", "near", "close to", "by"),
    "far": ("far from", "a long way from", "well away from"),
}

_COLOUR_OF = {word: colour for colour, words in COLOUR_WORDS.items() for word in words}
_SHAPE_OF = {word: shape for shape, words in SHAPE_WORDS.items() for word in words}


def choose(rng: np.random.Generator, words: tuple[str, ...], usual: float = 0.6) -> str:
    """Draw a word: the first with probability `usual`, each other one alike."""
    if len(words) == 1 or rng.random() < usual:
        return words[0]
    return words[1 + rng.integers(len(words) - 1)]


def colour_shape_pairs(caption: str) -> list[tuple[str, str]]:
    """Return the (colour, shape) pairs that a caption names, as `layout` names them, in their order.

    A pair is a colour's word with a shape's word right behind it.
    """
    words = words_of(caption)
    return [
        (_COLOUR_OF[first], _SHAPE_OF[second])
        for first, second in pairwise(words)
        if first in _COLOUR_OF and second in _SHAPE_OF
    ]
