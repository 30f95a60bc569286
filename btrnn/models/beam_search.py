"""Captions from a captioner: the likeliest word at each step, or a search over several captions at once.

A caption is a row of words that ends with <eos>; after `max_length` words it must end. <pad>, <bos> and <unk> are never
said. The score of a caption is its log-probability, <eos> included, divided by its length (<eos> included) to a power,
as longer captions are less likely just by their length (Wu et al., 2016, without their constants).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from btrnn.models.captioner import Captioner
from btrnn.nn.lstm import LSTMState

_BOS, _EOS = 1, 2
_NEVER_SAID = [0, 1, 3]


class Caption(NamedTuple):
    """Words without <bos> and <eos>, and the caption's score."""

    words: list[int]
    score: float


class _Beams(NamedTuple):
    """Unfinished captions of a batch of images, K each, in one batch of B K rows.

    words: (B, K, words so far).
    log_probability: (B, K); minus infinity where there is none.
    last: (B K,) the word to read next.
    state: Of the decoder, before that word.
    """

    words: Tensor
    log_probability: Tensor
    last: Tensor
    state: LSTMState


@torch.no_grad()
def greedy(
    captioner: Captioner,
    features: Float[Tensor, "batch cells channels"],
    *,
    max_length: int,
    length_penalty: float = 1.0,
) -> list[Caption]:
    """Say the likeliest word at each step, until it is <eos>.

    Args:
        captioner: The network, in evaluation mode.
        features: (B, P, C), of images.
        max_length: Most words of a caption.
        length_penalty: Power of the length that a log-probability is divided by; for the score alone.
    """
    images = len(features)
    state, last = captioner.start(features), features.new_full((images,), _BOS, dtype=torch.long)
    total, going = state.hidden.new_zeros(images), features.new_ones(images, dtype=torch.bool)
    said = []
    for length in range(1, max_length + 2):
        log_probability, state = _next_words(captioner, last, state)
        last = log_probability.argmax(dim=1) if length <= max_length else torch.full_like(last, _EOS)
        total += going * log_probability.gather(1, last.unsqueeze(1)).squeeze(1)
        said.append(last)
        going = going & (last != _EOS)
        if not going.any():
            break
    captions = []
    for row, score in zip(torch.stack(said, dim=1).tolist(), total.tolist(), strict=True):
        words = row[: row.index(_EOS)]
        captions.append(Caption(words, score / (len(words) + 1) ** length_penalty))
    return captions


@torch.no_grad()
def beam_search(
    captioner: Captioner,
    features: Float[Tensor, "batch cells channels"],
    *,
    beam_size: int,
    max_length: int,
    length_penalty: float = 1.0,
) -> list[Caption]:
    """Keep the likeliest `beam_size` captions at each step, and return the one that ends with the best score.

    The greedy caption is a candidate too, so that the result never has a lower score than it.

    Args:
        captioner: The network, in evaluation mode.
        features: (B, P, C), of images.
        beam_size: K, captions kept for each image.
        max_length: Most words of a caption.
        length_penalty: Power of the length that a log-probability is divided by.

    Raises:
        ValueError: `beam_size` or `max_length` is below 1, or `length_penalty` below 0.
    """
    if min(beam_size, max_length) < 1 or length_penalty < 0:
        raise ValueError(
            "beam_size and max_length must be at least 1 and length_penalty at least 0; "
            f"got {beam_size}, {max_length} and {length_penalty}"
        )
    best = greedy(captioner, features, max_length=max_length, length_penalty=length_penalty)
    beams = _first_beams(captioner, features, beam_size)
    for length in range(1, max_length + 2):  # with <eos>
        log_probability, state = _next_words(captioner, beams.last, beams.state)
        total = beams.log_probability.unsqueeze(2) + log_probability.view(*beams.log_probability.shape, -1)
        ended, which = (total[:, :, _EOS] / length**length_penalty).max(dim=1)
        for image, (score, beam) in enumerate(zip(ended.tolist(), which.tolist(), strict=True)):
            if score > best[image].score:
                best[image] = Caption(beams.words[image, beam].tolist(), score)
        if length > max_length:
            break
        total[:, :, _EOS] = float("-inf")
        beams = _extend(beams.words, total, state)
        # a caption that goes on never becomes likelier, nor is it ever divided by more than this
        bound = (beams.log_probability[:, 0] / (max_length + 1) ** length_penalty).tolist()
        if all(limit <= caption.score for limit, caption in zip(bound, best, strict=True)):
            break
    return best


def _next_words(captioner: Captioner, last: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
    """Give the log-probabilities of the next words; minus infinity for those that are never said."""
    log_probability, state = captioner.step(last, state)
    log_probability[:, _NEVER_SAID] = float("-inf")
    return log_probability, state


def _first_beams(captioner: Captioner, features: Tensor, beam_size: int) -> _Beams:
    """Begin with one empty caption an image; the others of its K stand by with probability 0."""
    images = len(features)
    hidden, cell = (part.repeat_interleave(beam_size, dim=1) for part in captioner.start(features))
    log_probability = hidden.new_full((images, beam_size), float("-inf"))
    log_probability[:, 0] = 0.0
    words = features.new_empty((images, beam_size, 0), dtype=torch.long)
    last = features.new_full((images * beam_size,), _BOS, dtype=torch.long)
    return _Beams(words, log_probability, last, LSTMState(hidden, cell))


def _extend(
    words: Int[Tensor, "images beams words"], total: Float[Tensor, "images beams vocabulary"], state: LSTMState
) -> _Beams:
    """Keep the K likeliest of all captions that are one word longer."""
    images, beam_size, vocabulary = total.shape
    log_probability, chosen = total.flatten(1).topk(beam_size, dim=1)
    parent, word = chosen // vocabulary, chosen % vocabulary
    kept = words.gather(1, parent.unsqueeze(2).expand(-1, -1, words.shape[2]))
    rows = (parent + beam_size * torch.arange(images, device=parent.device).unsqueeze(1)).flatten()
    hidden, cell = (part.index_select(1, rows) for part in state)
    return _Beams(torch.cat([kept, word.unsqueeze(2)], dim=2), log_probability, word.flatten(), LSTMState(hidden, cell))
