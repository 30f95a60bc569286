"""Matrix products by oneDNN against those in float64, in value and in both derivatives."""

import pytest
import torch
from torch.autograd import grad

from btrnn.ops.matmul import FEWEST_OPERATIONS, has_onednn, matmul

SIZES = [(300, 500, 96), (64, 1_000, 200), (3, 4, 5)]  # two above the bound and one below


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_sizes_lie_on_both_sides_of_the_bound():
    operations = [2 * m * k * n for m, k, n in SIZES]
    assert operations[1] >= FEWEST_OPERATIONS > operations[2]
    assert has_onednn(torch.zeros(1))
    assert not has_onednn(torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
@pytest.mark.parametrize("transposed", [False, True])
def test_value_and_gradients(m, k, n, transposed):
    left = torch.randn(m, k)
    right = torch.randn(n, k).t() if transposed else torch.randn(k, n)
    d_out = torch.randn(m, n)
    ours, exact = [], []
    for results, dtype in ((ours, torch.float32), (exact, torch.float64)):
        a, b = (tensor.to(dtype).requires_grad_() for tensor in (left, right))
        out = matmul(a, b) if dtype == torch.float32 else a @ b
        first = grad(out, (a, b), d_out.to(dtype), retain_graph=True)
        once_more = grad(out, (a, b), d_out.to(dtype), create_graph=True)
        second = grad(sum(part.square().sum() for part in once_more), (a, b))
        results += [out, *first, *once_more, *second]
    for got, want in zip(ours, exact, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4 * float(want.detach().abs().max()))


def test_a_gradient_that_is_not_wanted_is_not_computed():
    left, right = torch.randn(300, 500), torch.randn(500, 96, requires_grad=True)
    matmul(left, right).sum().backward()
    assert left.grad is None
    torch.testing.assert_close(right.grad, left.sum(dim=0)[:, None].expand(500, 96), rtol=1e-4, atol=1e-3)


def test_the_same_input_gives_the_same_bits():
    left, right = torch.randn(300, 500), torch.randn(500, 96)
    assert torch.equal(matmul(left, right), matmul(left, right))
