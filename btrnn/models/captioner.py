"""Task 3's network: what is in an image, then the words so far, to the next word (Vinyals et al., CVPR 2015).

As in "Show and Tell" the decoder sees the image once, as the vector that it reads before the first word: a linear map
of the mean over the image's cells.

Its captions are the likeliest word at each step, or come of a search over several captions at once. A caption is a row
of words that ends with <eos>; after `max_length` words it must end. <pad>, <bos> and <unk> are never said. The score of
a caption is its log-probability, <eos> included, divided by its length (<eos> included) to a power, as longer captions
are less likely just by their length (Wu et al., 2016, without their constants); the experiments use the power 0, the
log-probability itself, as Show and Tell.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from btrnn.nn.lstm import LSTMState
from btrnn.nn.recurrent import Recurrent
from btrnn.ops import shared_batch

_PAD, _BOS, _EOS = 0, 1, 2
_NEVER_SAID = [0, 1, 3]


class Captioner(nn.Module):
    """Write what is in an image, word by word; words are numbers, 0 is padding.

    Args:
        recurrent: The decoder, an LSTM or a GRU; its kind is all that differs between the models. Its input size is
            that of the words' embedding.
        vocabulary_size: V, words with the special ones.
        num_channels: C, numbers that stand for a cell of an image.
        dropout: Probability of dropping an input or an output of the decoder.

    Raises:
        ValueError: The decoder has two directions, or `batch_first` is not set.
    """

    feature_mean: Tensor
    feature_sd: Tensor

    def __init__(self, recurrent: Recurrent, *, vocabulary_size: int, num_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        if recurrent.bidirectional or not recurrent.batch_first:
            raise ValueError("the decoder must have one direction, and batch_first=True")
        self.recurrent = recurrent
        self.register_buffer("feature_mean", torch.zeros(num_channels))
        self.register_buffer("feature_sd", torch.ones(num_channels))
        self.feature_map = nn.Linear(num_channels, recurrent.input_size)
        self.embedding = nn.Embedding(vocabulary_size, recurrent.input_size, padding_idx=0)
        self.output = nn.Linear(recurrent.hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout)

    def standardise(self, mean: Float[Tensor, " channels"], sd: Float[Tensor, " channels"]) -> None:
        """Take from now on a mean from each channel, and divide by a standard deviation; both travel with the weights.

        Args:
            mean: (C,) of training images.
            sd: (C,) the same; a channel that never changes is left at 0.
        """
        self.feature_mean.copy_(mean)
        self.feature_sd.copy_(torch.where(sd > 0, sd, 1.0))

    def encode(self, features: Float[Tensor, "batch cells channels"]) -> Float[Tensor, "batch embedding"]:
        """Return the vector that stands for each image before its words."""
        standard = (features.to(self.feature_mean.dtype) - self.feature_mean) / self.feature_sd
        mapped: Tensor = self.feature_map(standard.mean(dim=1))
        return mapped

    def forward(
        self,
        features: Float[Tensor, "batch cells channels"],
        tokens: Int[Tensor, "batch words"],
        lengths: Int[Tensor, " batch"],
    ) -> Float[Tensor, "next_words vocabulary"]:
        """Compute the scores (before softmax) of each next word, given the true words before it.

        Padding is no word: nothing is computed for it.

        Args:
            features: (B, P, C), P cells of each image.
            tokens: (B, words), each row <bos>, the words, <eos>, padding.
            lengths: (B,) numbers before the padding, so at least 2.

        Returns:
            (next words, V), a row for each of `next_words(tokens)`.
        """
        inputs = torch.cat([self.encode(features).unsqueeze(1), self.embedding(tokens[:, :-1])], dim=1)
        # the image and all words but <eos>: as many inputs as numbers in the row
        packed = pack_padded_sequence(self._drop(inputs), lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = self.recurrent(packed)
        assert isinstance(hidden, PackedSequence)
        padded, _ = pad_packed_sequence(hidden, batch_first=True, total_length=tokens.shape[1])
        said_after = self._drop(padded[:, 1:])  # the first output comes before <bos>
        scores: Tensor = self.output(said_after[tokens[:, 1:] != _PAD])
        return scores

    def _drop(self, rows: Tensor) -> Tensor:
        return shared_batch.dropout(rows, self.dropout.p, self.training)

    def start(self, features: Float[Tensor, "batch cells channels"]) -> Float[Tensor, "parts layers batch hidden"]:
        """Return the decoder's state after it has seen the images: h, and an LSTM's c behind it."""
        _, state = self.recurrent(self.encode(features).unsqueeze(1))
        return _stacked(state)

    def step(
        self, words: Int[Tensor, " batch"], state: Float[Tensor, "parts layers batch hidden"]
    ) -> tuple[Float[Tensor, "batch vocabulary"], Float[Tensor, "parts layers batch hidden"]]:
        """Read one word of each caption, and give the log-probabilities of the next, and the state."""
        before = state[0] if len(state) == 1 else LSTMState(*state)
        output, after = self.recurrent(self.embedding(words).unsqueeze(1), before)
        assert isinstance(output, Tensor)
        return self.output(output[:, 0]).log_softmax(dim=-1), _stacked(after)


def _stacked(state: Tensor | LSTMState) -> Tensor:
    return state.unsqueeze(0) if isinstance(state, Tensor) else torch.stack(tuple(state))


def next_words(tokens: Int[Tensor, "batch words"]) -> Int[Tensor, " next_words"]:
    """Return the words that a captioner is to say, <eos> included, caption after caption: no <bos>, no padding."""
    words = tokens[:, 1:]
    return words[words != _PAD]


def caption_loss(
    scores: Float[Tensor, "next_words vocabulary"], tokens: Int[Tensor, "batch words"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next words, nats a word. Its exponential is the perplexity."""
    return F.cross_entropy(scores, next_words(tokens))


class Caption(NamedTuple):
    """Words without <bos> and <eos>, and the caption's score."""

    words: list[int]
    score: float


class _Beams(NamedTuple):
    """Unfinished captions of a batch of images, K each, in one batch of B K rows.

    words: (B, K, words so far).
    log_probability: (B, K); minus infinity where there is none.
    last: (B K,) the word to read next.
    state: (parts, layers, B K, H), of the decoder, before that word.
    """

    words: Tensor
    log_probability: Tensor
    last: Tensor
    state: Tensor


@torch.no_grad()
def greedy(
    captioner: Captioner,
    features: Float[Tensor, "batch cells channels"],
    *,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[Caption]:
    """Choose the likeliest word at each step, until it is <eos>.

    Args:
        captioner: The network, in evaluation mode.
        features: (B, P, C), of images.
        max_length: Most words of a caption.
        length_penalty: Power of the length that a log-probability is divided by; for the score alone.
    """
    images = len(features)
    state, last = captioner.start(features), features.new_full((images,), _BOS, dtype=torch.long)
    total, going = state.new_zeros(images), features.new_ones(images, dtype=torch.bool)
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


def check_search(beam_size: int, max_length: int, length_penalty: float) -> None:
    """Check what `beam_search` is asked for.

    Raises:
        ValueError: `beam_size` or `max_length` is below 1, or `length_penalty` below 0.
    """
    if min(beam_size, max_length) < 1 or length_penalty < 0:
        raise ValueError(
            "beam_size and max_length must be at least 1 and length_penalty at least 0; "
            f"got {beam_size}, {max_length} and {length_penalty}"
        )


@torch.no_grad()
def beam_search(
    captioner: Captioner,
    features: Float[Tensor, "batch cells channels"],
    *,
    beam_size: int,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[Caption]:
    """Keep the likeliest `beam_size` captions at each step, and return the one that ends with the best score.

    A caption may end where <eos> is among the `beam_size` likeliest of its next words, as in the released code of "Show
    and Tell". Without that rule the likeliest caption of a photograph is often the empty one: each of ten words is less
    likely than to say none at all. The greedy caption is a candidate too, so that no result has a lower score than it.

    Args:
        captioner: The network, in evaluation mode.
        features: (B, P, C), of images.
        beam_size: K, captions kept for each image.
        max_length: Most words of a caption.
        length_penalty: Power of the length that a log-probability is divided by.

    Raises:
        ValueError: `beam_size` or `max_length` is below 1, or `length_penalty` below 0.
    """
    check_search(beam_size, max_length, length_penalty)
    best = greedy(captioner, features, max_length=max_length, length_penalty=length_penalty)
    beams = _first_beams(captioner, features, beam_size)
    for length in range(1, max_length + 2):  # with <eos>
        log_probability, state = _next_words(captioner, beams.last, beams.state)
        next_words = log_probability.view(*beams.log_probability.shape, log_probability.shape[1])
        total = beams.log_probability.unsqueeze(2) + next_words
        ends = total[:, :, _EOS]
        if length <= max_length:
            likelier = (next_words > next_words[:, :, _EOS, None]).sum(dim=2)
            ends = ends.masked_fill(likelier >= beam_size, float("-inf"))
        ended, which = (ends / length**length_penalty).max(dim=1)
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


def _next_words(captioner: Captioner, last: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probabilities of the next words; minus infinity for those that are never said."""
    log_probability, state = captioner.step(last, state)
    log_probability[:, _NEVER_SAID] = float("-inf")
    return log_probability, state


def _first_beams(captioner: Captioner, features: Tensor, beam_size: int) -> _Beams:
    """Begin with one empty caption an image; the others of its K stand by with probability 0."""
    images = len(features)
    state = captioner.start(features).repeat_interleave(beam_size, dim=2)
    log_probability = state.new_full((images, beam_size), float("-inf"))
    log_probability[:, 0] = 0.0
    words = features.new_empty((images, beam_size, 0), dtype=torch.long)
    last = features.new_full((images * beam_size,), _BOS, dtype=torch.long)
    return _Beams(words, log_probability, last, state)


def _extend(
    words: Int[Tensor, "images beams words"],
    total: Float[Tensor, "images beams vocabulary"],
    state: Float[Tensor, "parts layers rows hidden"],
) -> _Beams:
    """Keep the K likeliest of all captions that are one word longer."""
    images, beam_size, vocabulary = total.shape
    log_probability, chosen = total.flatten(1).topk(beam_size, dim=1)
    parent, word = chosen // vocabulary, chosen % vocabulary
    kept = words.gather(1, parent.unsqueeze(2).expand(-1, -1, words.shape[2]))
    rows = (parent + beam_size * torch.arange(images, device=parent.device).unsqueeze(1)).flatten()
    longer = torch.cat([kept, word.unsqueeze(2)], dim=2)
    return _Beams(longer, log_probability, word.flatten(), state.index_select(2, rows))
