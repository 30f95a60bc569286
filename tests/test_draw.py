"""DRAW: its filters, its bound, its gradients and its samples."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from btrnn import BTLSTM, GRU, LSTM, TTLSTM
from btrnn.data.mnist import ImageBatch
from btrnn.models import DRAW
from btrnn.models.attention import GaussianRead, GaussianWrite, gaussian_filters
from btrnn.tasks import Generation
from btrnn.tasks.generation import digit_scores

SMALL = (5, 4)


def network(*, read_size: int | None = None, write_size: int | None = None, num_glimpses: int = 3) -> DRAW:
    torch.manual_seed(0)
    size = (40 if read_size is None else 2 * read_size**2) + 6
    return DRAW(
        LSTM(size, 7),
        latent_size=3,
        decoder_size=6,
        num_glimpses=num_glimpses,
        image_shape=SMALL,
        read_size=read_size,
        write_size=write_size,
    )


@settings(max_examples=30)
@given(
    centre=st.floats(-3, 12),
    stride=st.floats(0.05, 5),
    variance=st.floats(0.05, 10),
    count=st.integers(1, 5),
    length=st.integers(1, 9),
)
def test_filters_equal_a_loop_in_float64(centre, stride, variance, count, length):
    vectors = [torch.tensor([value], dtype=torch.float64) for value in (centre, stride, variance)]
    filters = gaussian_filters(*vectors, count, length)
    for i in range(1, count + 1):
        place = centre + (i - count / 2 - 0.5) * stride
        values = [math.exp(-((a - place) ** 2) / (2 * variance)) for a in range(1, length + 1)]
        expected = torch.tensor(values, dtype=torch.float64) / max(sum(values), 1e-8)
        torch.testing.assert_close(filters[0, i - 1], expected, rtol=1e-9, atol=1e-12)


def test_read_and_write_equal_the_equations_in_a_loop():
    torch.manual_seed(1)
    read, write = GaussianRead(SMALL, 6, 2).double(), GaussianWrite(SMALL, 6, 3).double()
    image, error = torch.rand(2, 2, 20, dtype=torch.float64)
    hidden = torch.randn(2, 6, dtype=torch.float64)
    values, drawn = read(image, error, hidden), write(hidden)
    for b in range(2):
        for module, count in ((read, 2), (write, 3)):
            row, column, log_variance, log_stride, log_intensity = module.placement(hidden)[b].tolist()
            stride = (5 - 1) / (count - 1) * math.exp(log_stride)
            grid = []
            for length, place in ((5, row), (4, column)):
                centre = (length + 1) / 2 * (place + 1)
                scalars = [torch.tensor([v], dtype=torch.float64) for v in (centre, stride, math.exp(log_variance))]
                grid.append(gaussian_filters(*scalars, count, length)[0])
            if module is read:
                patches = [math.exp(log_intensity) * grid[0] @ x[b].view(5, 4) @ grid[1].T for x in (image, error)]
                torch.testing.assert_close(values[b], torch.cat([patch.flatten() for patch in patches]))
            else:
                patch = write.values(hidden)[b].view(3, 3)
                torch.testing.assert_close(drawn[b], (grid[0].T @ patch @ grid[1] / math.exp(log_intensity)).flatten())


@pytest.mark.parametrize("size", [1, 2, 5])
def test_filters_start_as_a_grid_over_the_whole_image(size):
    read, write = GaussianRead((28, 28), 6, size), GaussianWrite((28, 28), 6, size)
    nowhere = torch.zeros(1, 6)
    for module in (read, write):
        filters = module.filterbank(nowhere)
        peaks = filters.rows[0].argmax(dim=1) + 1
        expected = (torch.arange(size) + 0.5) * 28 / size + 0.5
        assert (peaks - expected).abs().max() <= 0.5
        torch.testing.assert_close(filters.rows, filters.columns)
    image = torch.full((1, 784), 0.1)
    torch.testing.assert_close(read(image, image, nowhere), torch.full((1, 2 * size**2), 0.5))
    with torch.no_grad():
        write.values.bias.fill_(1.0)
        drawn = write(nowhere).view(28, 28)
    centre = drawn[10:18, 10:18]
    assert 0.8 < centre.mean() < 1.8


def test_gradients_of_read_and_write():
    torch.manual_seed(2)
    read, write = GaussianRead(SMALL, 3, 2).double(), GaussianWrite(SMALL, 3, 2).double()
    images = [torch.rand(2, 20, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    hidden = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(read, (*images, hidden))
    assert torch.autograd.gradcheck(write, (hidden,))


@pytest.mark.parametrize("sizes", [(None, None), (2, 3)], ids=["whole", "attention"])
def test_the_bound_is_that_of_torch_distributions(sizes, monkeypatch):
    model = network(read_size=sizes[0], write_size=sizes[1]).double()
    images = torch.rand(4, 20, dtype=torch.float64).round()
    posteriors, latents = [], []
    original, decoder = model.posterior.forward, model.decoder.forward
    monkeypatch.setattr(model.posterior, "forward", lambda x: posteriors.append(original(x)) or posteriors[-1])
    monkeypatch.setattr(model.decoder, "forward", lambda z, s: latents.append(z[0]) or decoder(z, s))
    output = model(images)
    prior = Normal(torch.tensor(0.0, dtype=torch.float64), 1)
    log_ratio = torch.zeros(4, dtype=torch.float64)
    for t, (parameters, latent) in enumerate(zip(posteriors, latents, strict=True)):
        mean, log_sd = parameters.chunk(2, dim=1)
        posterior = Normal(mean, log_sd.exp())
        torch.testing.assert_close(output.divergences[:, t], kl_divergence(posterior, prior).sum(1))
        log_ratio += (prior.log_prob(latent) - posterior.log_prob(latent)).sum(1)
    likelihood = Bernoulli(logits=output.canvases[-1]).log_prob(images).sum(1)
    torch.testing.assert_close(output.reconstruction, -likelihood)
    torch.testing.assert_close(output.nll_bound, -likelihood + output.divergences.sum(1))
    torch.testing.assert_close(output.log_weight, likelihood + log_ratio)


def test_the_importance_weighted_estimate_is_tighter_on_average():
    model = network()
    images = torch.rand(200, 20).round()
    with torch.no_grad():
        plain = model.importance_weighted_nll(images, 1).mean()
        tight = model.importance_weighted_nll(images, 50).mean()
        bound = model(images).nll_bound.mean()
    assert tight < plain
    assert tight < bound


def log_of_a_test(model: DRAW, importance_samples: int, monkeypatch) -> dict[str, list[float]]:
    """What a test logs of two batches, by name."""
    logged: dict[str, list[float]] = {}
    monkeypatch.setattr(
        Generation, "log", lambda _, name, value, **options: logged.setdefault(name, []).append(value.item())
    )
    monkeypatch.setattr(
        Generation, "log_dict", lambda self, values, **options: [self.log(name, values[name]) for name in values]
    )
    task = Generation(model, learning_rate=1e-3, importance_samples=importance_samples)
    task.on_test_start()
    for number in range(2):
        images = torch.rand(3, 20, generator=torch.Generator().manual_seed(number)).round()
        task.test_step(ImageBatch(images, torch.arange(3)), number)
    return logged


def test_the_bound_is_the_same_however_many_importance_samples_are_asked_for(monkeypatch):
    model = network()
    plain, few, many = (log_of_a_test(model, number, monkeypatch) for number in (0, 1, 5))
    assert "test/nll_importance" not in plain
    assert few["test/nll_importance"] != many["test/nll_importance"]
    for name in ("test/nll_bound", "test/reconstruction", "test/kl"):
        assert plain[name] == few[name] == many[name], name
    assert log_of_a_test(model, 5, monkeypatch) == many


def test_every_parameter_gets_a_gradient():
    for sizes in ((None, None), (2, 3)):
        model = network(read_size=sizes[0], write_size=sizes[1])
        model(torch.rand(4, 20).round()).nll_bound.mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_samples_are_a_function_of_seed_and_weights():
    model, again = network(), network()
    with torch.no_grad():
        model.first_canvas += 0.3
    again.load_state_dict(model.state_dict())
    drawn = [m.generate(5, torch.Generator().manual_seed(3)) for m in (model, again, model)]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert drawn[0].shape == (3, 5, 20)
    assert not torch.equal(drawn[0], model.generate(5, torch.Generator().manual_seed(4)))


def test_the_papers_sizes():
    block_term = BTLSTM((8, 3, 4, 19), (4, 4, 4, 4), tucker_rank=4, num_blocks=1)
    tensor_train = TTLSTM((8, 3, 4, 19), (4, 4, 4, 4), tt_rank=4)
    dense = LSTM(1824, 256)
    counts = [layer.num_input_parameters for layer in (block_term, tensor_train, dense)]
    assert counts == [1_184, 1_264, 1_867_776]
    for layer in (block_term, tensor_train, dense):
        assert DRAW(layer)(torch.rand(2, 784).round()).canvases.shape == (10, 2, 784)
    attention = BTLSTM((2, 4, 3, 11), (4, 4, 4, 4), tucker_rank=4, num_blocks=1)
    assert DRAW(attention, read_size=2, write_size=5).read.size == 8


def test_an_encoder_of_another_cell_is_refused(unchecked):
    with pytest.raises(ValueError, match="must be an LSTM, whatever its map; got GRU"):
        DRAW(GRU(1824, 256))


def test_an_encoder_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"takes 1,000 inputs, but it would be given 1,824: 1,568 that are read"):
        DRAW(LSTM(1000, 256))
    with pytest.raises(ValueError, match="batch_first=False"):
        DRAW(LSTM(1824, 256, batch_first=True))
    with pytest.raises(ValueError, match="num_glimpses must be at least 1, got 0"):
        DRAW(LSTM(1824, 256), num_glimpses=0)
    with pytest.raises(ValueError, match="at least 1 x 1, got 0 x 0"):
        DRAW(LSTM(256, 256), read_size=0)


@given(st.integers(2, 12), st.integers(1, 5))
def test_scores_of_samples_run_from_one_kind_to_all_kinds_alike(classes, times):
    sure = np.eye(classes).repeat(times, axis=0)
    assert digit_scores(sure) == pytest.approx({"digit_score": classes, "digit_confidence": 1.0})
    assert digit_scores(sure[:times]) == pytest.approx({"digit_score": 1.0, "digit_confidence": 1.0})
    doubtful = np.full((times, classes), 1 / classes)
    assert digit_scores(doubtful) == pytest.approx({"digit_score": 1.0, "digit_confidence": 1 / classes})
