"""Task 3's network: what is in an image, then the words so far, to the next word (Vinyals et al., CVPR 2015).

As in "Show and Tell" the decoder sees the image once, as the vector that it reads before the first word: a linear map
of the mean over the image's cells.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from btrnn.nn.lstm import LSTM, LSTMState


class Captioner(nn.Module):
    """Say what is in an image, word by word; words are numbers, 0 is padding.

    Args:
        recurrent: The decoder; its kind is all that differs between the paper's three models. Its input size is that
            of the words' embedding.
        vocabulary_size: V, words with the special ones.
        num_channels: C, numbers that stand for a cell of an image.
        dropout: Probability of dropping an input or an output of the decoder.

    Raises:
        ValueError: The decoder has two directions, or `batch_first` is not set.
    """

    feature_mean: Tensor
    feature_sd: Tensor

    def __init__(self, recurrent: LSTM, *, vocabulary_size: int, num_channels: int, dropout: float = 0.0) -> None:
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

    def see(self, features: Float[Tensor, "batch cells channels"]) -> Float[Tensor, "batch embedding"]:
        """Return the vector that stands for each image before its words."""
        standard = (features.to(self.feature_mean.dtype) - self.feature_mean) / self.feature_sd
        mapped: Tensor = self.feature_map(standard.mean(dim=1))
        return mapped

    def forward(
        self,
        features: Float[Tensor, "batch cells channels"],
        tokens: Int[Tensor, "batch words"],
        lengths: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch words-1 vocabulary"]:
        """Compute the scores (before softmax) of each next word, given the true words before it.

        Args:
            features: (B, P, C), P cells of each image.
            tokens: (B, words), each row <bos>, the words, <eos>, padding.
            lengths: (B,) numbers before the padding, so at least 2.

        Returns:
            (B, words - 1, V); row t scores tokens[:, t + 1]. What stands at padding means nothing.
        """
        inputs = torch.cat([self.see(features).unsqueeze(1), self.embedding(tokens[:, :-1])], dim=1)
        # the image and all words but <eos>: as many inputs as numbers in the row
        packed = pack_padded_sequence(self.dropout(inputs), lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden, _ = self.recurrent(packed)
        assert isinstance(hidden, PackedSequence)
        padded, _ = pad_packed_sequence(hidden, batch_first=True, total_length=tokens.shape[1])
        scores: Tensor = self.output(self.dropout(padded[:, 1:]))  # the first output comes before <bos>
        return scores

    def start(self, features: Float[Tensor, "batch cells channels"]) -> LSTMState:
        """Return the decoder's state after it has seen the images."""
        _, state = self.recurrent(self.see(features).unsqueeze(1))
        return LSTMState(*state)

    def step(
        self, words: Int[Tensor, " batch"], state: LSTMState
    ) -> tuple[Float[Tensor, "batch vocabulary"], LSTMState]:
        """Read one word of each caption, and give the log-probabilities of the next."""
        output, after = self.recurrent(self.embedding(words).unsqueeze(1), state)
        assert isinstance(output, Tensor)
        return self.output(output[:, 0]).log_softmax(dim=-1), LSTMState(*after)


def caption_loss(
    scores: Float[Tensor, "batch next_words vocabulary"], tokens: Int[Tensor, "batch words"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next words, nats a word; padding does not count. Its exponential is the perplexity."""
    return F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)
