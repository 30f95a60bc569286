"""What the map of images learns before the first sentence."""

import numpy as np
import pytest
import torch

from btrnn import LSTM
from btrnn.models import Captioner
from btrnn.tasks import phrases
from btrnn.tasks.phrases import find_phrases, learn_phrases

CELLS, CHANNELS = 4, 6


def test_phrases_are_the_words_and_pairs_that_enough_images_have_but_not_all(monkeypatch):
    monkeypatch.setattr(phrases, "LEAST_IMAGES", 2)
    captions = [
        ["a red cube", "A red, round ball!"],
        ["a red cube on a cube"],
        ["a blue ball"],
    ]
    found = find_phrases(captions).toarray()
    # "a" is everywhere; "red", "a red", "red cube", "cube" are in the first two, "ball" in the first and the last
    columns = sorted(map(tuple, found.T.tolist()))
    assert columns == [(1, 0, 1), *[(1, 1, 0)] * 4]
    monkeypatch.setattr(phrases, "MOST_PHRASES", 3)
    assert find_phrases(captions).shape == (3, 3)


@pytest.fixture
def captioner() -> Captioner:
    torch.manual_seed(0)
    return Captioner(LSTM(48, 8, batch_first=True), vocabulary_size=9, num_channels=CHANNELS, dropout=0.1)


def scenes(images: int) -> tuple[list[list[str]], np.ndarray]:
    """Make images with a colour and a shape that share a cell, and their captions."""
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (images, CELLS, CHANNELS)).astype(np.float16)
    colours, shapes = rng.integers(0, 3, (2, images))
    cells = rng.integers(0, CELLS, images)
    features[np.arange(images), cells, colours] += 2
    features[np.arange(images), cells, 3 + shapes] += 2
    words = ("red", "green", "blue"), ("cube", "ball", "star")
    return [[f"a {words[0][c]} {words[1][s]}"] for c, s in zip(colours, shapes, strict=True)], features


def test_the_map_learns_to_tell_them_and_nothing_else_changes(captioner):
    captions, features = scenes(320)
    found = find_phrases(captions)
    assert found.shape[1] == 3 + 3 + 3 + 9  # colours, shapes, "a red", "red cube"
    before = {name: value.clone() for name, value in captioner.state_dict().items()}
    losses = [
        learn_phrases(captioner, found, lambda rows: features[rows], np.random.default_rng(0), epochs=epochs)
        for epochs in (1, 60)
    ]
    entropy = 9 * (np.log(3) - 2 / 3 * np.log(2)) + 9 * (np.log(9) - 8 / 9 * np.log(8))
    assert losses[0] == pytest.approx(entropy, rel=0.1), "it begins with what is said of any image"
    assert losses[1] < 0.5 * entropy
    changed = {name for name, value in captioner.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"feature_map.weight", "feature_map.bias"}
    assert all(parameter.grad is None for parameter in captioner.parameters())


def test_it_is_a_function_of_the_seeds(captioner):
    captions, features = scenes(64)
    state, learnt = {name: value.clone() for name, value in captioner.state_dict().items()}, []
    for _ in range(2):
        captioner.load_state_dict(state)
        torch.manual_seed(1)
        rng = np.random.default_rng(2)
        learn_phrases(captioner, find_phrases(captions), lambda rows: features[rows], rng, epochs=2)
        learnt.append(captioner.feature_map.weight.detach().clone())
    assert torch.equal(*learnt)
    assert not torch.equal(learnt[0], state["feature_map.weight"])


def test_images_without_phrases_teach_nothing(captioner):
    found = find_phrases([["a dog"], ["a dog"]])
    assert found.shape == (2, 0)
    before = captioner.feature_map.weight.detach().clone()
    assert learn_phrases(captioner, found, lambda _: np.empty(0), np.random.default_rng(0), epochs=3) == 0
    assert torch.equal(captioner.feature_map.weight, before)
