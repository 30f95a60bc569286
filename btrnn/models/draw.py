r"""Task 2's network: DRAW, which draws an image glimpse by glimpse (Gregor et al., ICML 2015; Ye et al., section 4.2).

At glimpse t = 1 .. T, with the canvas c and its error x_hat = x - sigmoid(c_{t-1}):

    h_enc = LSTM_enc([read(x, x_hat), h_dec])     Only the input-to-hidden map of this LSTM differs between models.
    z     ~ Normal(mu(h_enc), sigma(h_enc))
    h_dec = LSTM_dec(z)
    c_t   = c_{t-1} + write(h_dec)

Without attention `read` gives [x, x_hat] and `write` is a linear map; with it both see N x N Gaussian filters, placed
by h_dec (`attention.py`). The bound on -log p(x), in nats (Gregor et al., equations 9 to 12), is

    -log Bernoulli(x | sigmoid(c_T)) + sum over t of KL(Normal(mu_t, sigma_t) || Normal(0, 1)).
"""

from math import log, prod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from btrnn.models.attention import GaussianRead, GaussianWrite
from btrnn.nn.lstm import LSTM, LSTMState
from btrnn.ops.shared_batch import draw


class DRAWOutput(NamedTuple):
    """What the network makes of a batch of images.

    reconstruction: (B,) -log p(x | z), nats.
    divergences: (B, T) KL of each glimpse's latent from the prior, nats.
    log_weight: (B,) log p(x, z) - log q(z | x) of the z that was drawn, for the importance-weighted bound.
    canvases: (T, B, pixels) the canvas after each glimpse, before the sigmoid.
    """

    reconstruction: Tensor
    divergences: Tensor
    log_weight: Tensor
    canvases: Tensor

    @property
    def nll_bound(self) -> Tensor:
        """(B,) the bound on -log p(x), nats."""
        return self.reconstruction + self.divergences.sum(dim=1)


class WholeRead(nn.Module):
    """Read without attention: all of the image and of its error."""

    def __init__(self, image_shape: tuple[int, int]) -> None:
        super().__init__()
        self.size = 2 * prod(image_shape)

    def forward(
        self,
        image: Float[Tensor, "batch pixels"],
        error: Float[Tensor, "batch pixels"],
        hidden: Float[Tensor, "batch hidden"],  # noqa: ARG002  (a read with attention looks where this says)
    ) -> Float[Tensor, "batch values"]:
        """Return (B, 2 pixels)."""
        return torch.cat([image, error], dim=1)


class DRAW(nn.Module):
    """Encode an image, and decode it, in T glimpses.

    Args:
        encoder: The layer that reads; its input is what `read` gives and the decoder's hidden state.
        latent_size: Numbers of z a glimpse.
        decoder_size: H of the decoder's LSTM, which is dense in all models.
        num_glimpses: T.
        image_shape: Rows and columns of an image.
        read_size: N of the N x N filters that read; None reads without attention.
        write_size: N of the N x N filters that write; None writes without attention.

    Raises:
        ValueError: The encoder is no LSTM, its input size is not what it would be given, or it is not one layer in one
            direction; or there is no glimpse.
    """

    def __init__(
        self,
        encoder: LSTM,
        *,
        latent_size: int = 100,
        decoder_size: int = 256,
        num_glimpses: int = 10,
        image_shape: tuple[int, int] = (28, 28),
        read_size: int | None = None,
        write_size: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, LSTM):
            raise ValueError(f"the encoder must be an LSTM, whatever its map; got {type(encoder).__name__}")
        if num_glimpses < 1:
            raise ValueError(f"num_glimpses must be at least 1, got {num_glimpses}")
        rows, columns = image_shape
        self.image_shape, self.num_glimpses, self.latent_size = (rows, columns), num_glimpses, latent_size
        self.read: nn.Module = (
            WholeRead(self.image_shape)
            if read_size is None
            else GaussianRead(self.image_shape, decoder_size, read_size)
        )
        expected = self.read.size + decoder_size
        if encoder.input_size != expected:
            raise ValueError(
                f"the encoder takes {encoder.input_size:,} inputs, but it would be given {expected:,}: "
                f"{self.read.size:,} that are read and the decoder's {decoder_size} hidden numbers"
            )
        if encoder.num_layers * encoder.num_directions != 1 or encoder.batch_first:
            raise ValueError("the encoder must have one layer and one direction, and batch_first=False")
        self.encoder = encoder
        self.decoder = LSTM(latent_size, decoder_size)
        self.posterior = nn.Linear(encoder.hidden_size, 2 * latent_size)
        self.write: nn.Module = (
            nn.Linear(decoder_size, rows * columns)
            if write_size is None
            else GaussianWrite(self.image_shape, decoder_size, write_size)
        )
        # "initialised to learned biases" (Gregor et al., section 2.1)
        self.first_canvas = nn.Parameter(torch.zeros(rows * columns))
        self.first_encoder_state = nn.Parameter(torch.zeros(2, encoder.hidden_size))
        self.first_decoder_state = nn.Parameter(torch.zeros(2, decoder_size))

    def forward(self, images: Float[Tensor, "batch pixels"]) -> DRAWOutput:
        """Encode and decode images, with z drawn from torch's generator.

        Args:
            images: (B, pixels), row-major, in [0, 1]; 0 or 1 where the bound is to be one on a probability.
        """
        batch = len(images)
        canvas = self.first_canvas.expand(batch, -1)
        encoder_state = _repeat(self.first_encoder_state, batch)
        decoder_state = _repeat(self.first_decoder_state, batch)
        divergences, log_ratios, canvases = [], [], []
        for _ in range(self.num_glimpses):
            hidden = decoder_state.hidden[0]
            glimpse = self.read(images, images - canvas.sigmoid(), hidden)
            _, encoder_state = self.encoder(torch.cat([glimpse, hidden], dim=1).unsqueeze(0), encoder_state)
            # where autocast is on: the latents and all of the bound in the parameters' precision
            mean, log_sd = self.posterior(encoder_state.hidden[0]).to(canvas.dtype).chunk(2, dim=1)
            noise = draw(torch.randn_like, mean)
            latent = mean + noise * log_sd.exp()
            divergences.append(0.5 * (mean.square() + (2 * log_sd).exp() - 1).sum(dim=1) - log_sd.sum(dim=1))
            # log p(z) - log q(z | x); the terms with log(2 pi) cancel
            log_ratios.append((0.5 * (noise.square() - latent.square()) + log_sd).sum(dim=1))
            canvas, decoder_state = self._draw(canvas, latent, decoder_state)
            canvases.append(canvas)
        reconstruction = F.binary_cross_entropy_with_logits(canvas, images, reduction="none").sum(dim=1)
        log_weight = torch.stack(log_ratios).sum(dim=0) - reconstruction
        return DRAWOutput(reconstruction, torch.stack(divergences, dim=1), log_weight, torch.stack(canvases))

    def _draw(self, canvas: Tensor, latent: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """Do the decoder's half of a glimpse."""
        _, state = self.decoder(latent.unsqueeze(0), state)
        return canvas + self.write(state.hidden[0]), state

    @torch.no_grad()
    def generate(
        self, num_images: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "glimpses images pixels"]:
        """Draw images from the prior.

        Args:
            num_images: How many.
            generator: Of the latents, on the CPU; the same generator state and weights give the same images.

        Returns:
            (T, images, pixels): the canvases as probabilities, the last of which are the images.
        """
        weight = self.first_canvas
        canvas = weight.expand(num_images, -1)
        state = _repeat(self.first_decoder_state, num_images)
        canvases = []
        for _ in range(self.num_glimpses):
            latent = torch.randn(num_images, self.latent_size, generator=generator).to(weight)
            canvas, state = self._draw(canvas, latent, state)
            canvases.append(canvas.sigmoid())
        return torch.stack(canvases)

    @torch.no_grad()
    def importance_weighted_nll(
        self, images: Float[Tensor, "batch pixels"], num_samples: int
    ) -> Float[Tensor, " batch"]:
        """Estimate -log p(x) by importance weighting, a tighter bound (Burda et al., 2016), in nats.

        Args:
            images: As for `forward`.
            num_samples: How many z are drawn for each image; one gives the plain bound.
        """
        weights = torch.stack([self(images).log_weight for _ in range(num_samples)])
        return log(num_samples) - weights.logsumexp(dim=0)


def _repeat(state: Tensor, batch: int) -> LSTMState:
    """Turn a learned (2, H) into the state of a batch."""
    hidden, cell = state[:, None, None].expand(-1, 1, batch, -1)
    return LSTMState(hidden, cell)
