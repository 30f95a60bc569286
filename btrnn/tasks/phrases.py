"""What a captioner learns of images before its first sentence: which words and pairs of words their captions have.

A decoder teaches the map of an image's cells slowly, through its state, and mostly single words: it says the colour of
one thing with the shape of another. Here the vector that stands for an image learns first to tell, with one linear
layer, which phrases are in the image's captions. Detectors of words on the cells of an image are those of Fang et al.
("From Captions to Visual Concepts and Back", CVPR 2015, section 3); there they make sentences, here they prepare the
map, and the layer is dropped. The decoder, and what it reads, stay those of "Show and Tell".
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float16
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn
from torch.nn import functional as F

from btrnn.data.captions.vocabulary import words_of
from btrnn.models.captioner import Captioner

LEAST_IMAGES = 15  # that have a phrase, for it to be learnt
MOST_PHRASES = 2500  # the most frequent ones
_LEARNING_RATE, _LAST_RATE = 2e-3, 0.02  # Adam's first, and the share of it that is left at the end
_BATCH_SIZE = 64


def find_phrases(captions: Sequence[Sequence[str]]) -> sparse.csr_array:
    """Tell which words and pairs of neighbouring words are in the captions of each image.

    Args:
        captions: Of each image, all of its captions.

    Returns:
        (images, phrases) 1 where one of the image's captions has the phrase; the phrases that `LEAST_IMAGES` have, but
        not all images, and no more than `MOST_PHRASES`. There may be none.
    """
    vectorizer = CountVectorizer(analyzer=_phrases, binary=True, dtype=np.float32)
    found = sparse.csr_array(vectorizer.fit_transform(captions))
    counts = np.asarray(found.sum(axis=0)).ravel()
    known = np.flatnonzero((counts >= LEAST_IMAGES) & (counts < len(captions)))
    return found[:, np.sort(known[np.argsort(-counts[known], kind="stable")[:MOST_PHRASES]])]


def _phrases(captions: Sequence[str]) -> set[tuple[str, ...]]:
    """Return the words and the pairs of words of some captions."""
    texts = [words_of(caption) for caption in captions]
    return {phrase for words in texts for n in (1, 2) for phrase in zip(*(words[k:] for k in range(n)), strict=False)}


def learn_phrases(
    captioner: Captioner,
    phrases: sparse.csr_array,
    features: Callable[[np.ndarray], Float16[np.ndarray, "images cells channels"]],
    rng: np.random.Generator,
    *,
    epochs: int,
) -> float:
    """Train a captioner's map of images to tell their phrases, in place.

    Args:
        captioner: The network, in training mode; only its `feature_map` changes.
        phrases: (images, phrases), see `find_phrases`.
        features: Gives the features of images by their numbers, rows of `phrases`.
        rng: Draws the order.
        epochs: Passes over the images.

    Returns:
        The last epoch's mean loss, nats an image; 0 where there is nothing to learn.
    """
    images, number = phrases.shape
    if number == 0 or epochs == 0:
        return 0.0
    device = captioner.feature_map.weight.device
    share = torch.from_numpy(phrases.mean(axis=0)).to(device)
    tell = nn.Linear(captioner.feature_map.out_features, number).to(device)
    with torch.no_grad():
        tell.bias.copy_(torch.logit(share))  # from what is said of any image
        tell.weight.mul_(0.1)
    parameters = [*captioner.feature_map.parameters(), *tell.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    steps = epochs * -(-images // _BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, _LAST_RATE, total_iters=steps)
    total: float = 0.0
    for _ in range(epochs):
        total, order = 0.0, rng.permutation(images)
        for start in range(0, images, _BATCH_SIZE):
            chosen = order[start : start + _BATCH_SIZE]
            scores = tell(captioner.dropout(captioner.see(torch.from_numpy(features(chosen)).to(device))))
            true = torch.from_numpy(phrases[chosen].toarray()).to(device)
            loss = F.binary_cross_entropy_with_logits(scores, true, reduction="sum") / len(chosen)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
    optimizer.zero_grad()  # the run's own optimiser begins with none
    return float(total / images)
