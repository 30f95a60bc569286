"""The caption said of every image: it must be the best there is, or a model is praised for too little."""

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

from btrnn.tasks import caption_scores as metrics
from btrnn.tasks.caption_scores import _likeness, constant_cider, score_captions, tokenized, true_cider

WORDS = ["red", "green", "blue", "ball", "cube", "cone", "on", "beside", "grass", "sand", "small", "large"]


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "has_java", lambda: False)


def sentences(rng: np.random.Generator, number: int) -> list[str]:
    """Return sentences that say no word twice, so that CIDEr has nothing to clip."""
    return [" ".join(rng.permutation(WORDS)[: rng.integers(2, 9)]) for _ in range(number)]


def test_likeness_is_cider_where_no_word_stands_twice() -> None:
    rng = np.random.default_rng(0)
    texts = sentences(rng, 20)
    known = tokenized([], [sentences(rng, int(rng.integers(1, 6))) for _ in range(12)])[1]
    expected = [Cider().compute_score(known, {image: [text] for image in known})[0] for text in texts]
    np.testing.assert_allclose(_likeness(texts, known), expected, rtol=1e-10, atol=1e-12)


def test_the_constant_caption_is_the_best_of_the_candidates() -> None:
    rng = np.random.default_rng(1)
    candidates = sentences(rng, 300)
    judges, references = ([sentences(rng, 3) for _ in range(number)] for number in (10, 7))
    scores = [score_captions([text] * len(judges), judges).corpus["cider"] for text in candidates]
    best = candidates[int(np.argmax(scores))]
    expected = score_captions([best] * len(references), references).corpus["cider"]
    assert 0 < constant_cider(candidates, judges, references) == pytest.approx(expected)


def test_true_captions_are_scored_against_the_others() -> None:
    rng = np.random.default_rng(2)
    references = [sentences(rng, 4) for _ in range(6)]
    expected = score_captions([some[0] for some in references], [some[1:] for some in references]).corpus["cider"]
    assert true_cider(references) == pytest.approx(expected)
    assert np.isnan(true_cider([["a ball"], ["a cube", "cube"]]))
