"""What a score of captions must be read against: one caption said of every image, and what people's own would get."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pycocoevalcap.cider.cider import Cider
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from btrnn.tasks.caption_scores import tokenized

_NUM_TRIED = 10  # of the candidates that are likely to be best, whose CIDEr is computed
_LONGEST = 4  # n-grams of CIDEr
_SIGMA = 6.0  # of CIDEr's penalty of another length


def constant_cider(
    candidates: Sequence[str], judges: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> float:
    """Return the CIDEr of one caption said of every image, which a model must beat that sees anything.

    It is the candidate with the highest CIDEr on the judges.

    Args:
        candidates: Captions of training images.
        judges: References of validation images.
        references: Of the images on which the chosen caption is scored.
    """
    said, known = tokenized(list(dict.fromkeys(candidates)), judges)
    texts = [text for [text] in said.values()]
    likeness = _likeness(texts, known)
    tried = [texts[place] for place in np.argsort(-likeness, kind="stable")[:_NUM_TRIED]]
    best = max(tried, key=lambda text: _score(text, known))
    return _score(best, tokenized([], references)[1])


def true_cider(references: Sequence[Sequence[str]]) -> float:
    """Return the CIDEr of each image's first reference against its others; not a number without others."""
    known = tokenized([], references)[1]
    if any(len(some) < 2 for some in known.values()):
        return math.nan
    first = {number: some[:1] for number, some in known.items()}
    return float(Cider().compute_score({number: some[1:] for number, some in known.items()}, first)[0])


def _score(caption: str, known: dict[int, list[str]]) -> float:
    return float(Cider().compute_score(known, {image: [caption] for image in known})[0])


def _likeness(texts: Sequence[str], known: Mapping[int, Sequence[str]]) -> np.ndarray:
    """Return about the CIDEr of each text said of all images, of many texts fast.

    An n-gram that is more often in the text than in a reference counts as often as it is in the text, where CIDEr
    counts it as often as in the reference. So all references of a length can be added up before the product.

    Returns:
        (texts,) at most 10 each.
    """
    references = [reference for some in known.values() for reference in some]
    per_image = [len(some) for some in known.values()]
    image = np.repeat(np.arange(len(known)), per_image)
    images = sparse.csr_array((np.ones(len(image)), (image, np.arange(len(image)))))
    weights = np.repeat([1 / (len(known) * number) for number in per_image], per_image)
    words = np.array([len(text.split()) for text in (*texts, *references)])
    own, theirs = words[: len(texts)], words[len(texts) :]
    likeness = np.zeros(len(texts))
    for n in range(1, min(_LONGEST, words.max()) + 1):
        counts = CountVectorizer(ngram_range=(n, n), token_pattern=r"\S+", lowercase=False).fit_transform(
            [*texts, *references]
        )
        frequency = np.asarray(((images @ counts[len(texts) :]) > 0).sum(axis=0)).ravel()
        rarity = math.log(len(known)) - np.log(np.maximum(frequency, 1))
        vectors = normalize(counts @ sparse.diags_array(rarity))
        for length in np.unique(theirs):
            chosen = theirs == length
            centre = weights[chosen] @ vectors[len(texts) :][chosen]
            likeness += np.exp(-((own - length) ** 2) / (2 * _SIGMA**2)) * (vectors[: len(texts)] @ centre)
    return 10 / _LONGEST * likeness
