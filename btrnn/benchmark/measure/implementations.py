"""A problem with its right answers, and what products and layers have in common: built from it, called, and checked.

The answers are the same numbers in float64, from the reconstructed W, which is rebuilt slice by slice, over the first
input mode, so that the check fits into memory wherever the product does. The equations are einsum's, apart from btrnn's
own contraction.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from math import sqrt
from typing import Any, NamedTuple

import torch
from torch import Tensor

from btrnn import BTLinear, TTLinear
from btrnn.benchmark.settings import GRAPH, MEMORY_LIMIT, ONE_GRAPH, Family, Phase, Shape, weight_equation
from btrnn.engine.graphs import Graph

LARGEST_CHECKED_GRADIENT = 2**27  # entries of W; beyond it the float64 gradient alone would take minutes
LARGEST_ERROR = 1e-4


class Answer(NamedTuple):
    """Float64 results: of the product or layer, and of each parameter's gradient where it is not too large."""

    output: Tensor
    gradients: list[Tensor]


class Problem:
    """A shape with its numbers: input, weights, the gradient of the output, and the right answers.

    Args:
        shape: The shape.
        device: Where the numbers are.
        layer: Whether the product is followed by the recurrence of an LSTM.

    Attributes:
        recurrent_weight: U, (4 H, H).
        bias: (4 H).
        x: (T B, I), or (T, B, I) for a layer. Neither it nor what follows needs a gradient.
        d_output: The gradient of the result: (T B, J), or (T, B, H) for a layer.
    """

    def __init__(self, shape: Shape, device: torch.device, *, layer: bool = False) -> None:
        self.shape, self.device, self.layer = shape, device, layer
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        bt = BTLinear(shape.in_modes, shape.out_modes, tucker_rank=shape.rank, num_blocks=shape.num_blocks, bias=False)
        tt = TTLinear(shape.in_modes, shape.out_modes, tt_rank=shape.rank, bias=False)
        hidden, rows = shape.hidden_size, shape.rows
        self.x = torch.randn(rows, shape.in_features).to(device)
        self.d_output = torch.randn(rows, hidden if layer else shape.out_features).to(device)
        self.recurrent_weight = (torch.rand(4 * hidden, hidden) * 2 - 1).div_(sqrt(hidden)).to(device)
        self.bias = (torch.rand(4 * hidden) * 2 - 1).div_(sqrt(hidden)).to(device)
        torch.random.set_rng_state(state)
        if layer:
            self.x = self.x.view(shape.time, shape.batch, -1)
            self.d_output = self.d_output.view(shape.time, shape.batch, -1)
        self._operands: dict[Family, list[Tensor]] = {
            "BT": [tensor.detach().to(device) for tensor in (bt.core, *bt.factors)],
            "TT": [tensor.detach().to(device) for tensor in tt.cores],
        }
        self._answers: dict[Family, Answer] = {}
        self._products: dict[Family, Tensor] = {}

    def operands(self, family: Family) -> list[Tensor]:
        """Return copies of the factors that W is made of: "BT" has core and factors, "TT" the cores."""
        return [tensor.clone() for tensor in self._operands[family]]

    def dense_weight(self) -> Tensor:
        """Make the W that the block terms stand for: (J, I), rounded from float64."""
        weight = torch.empty(self.shape.out_features, self.shape.in_features, device=self.device)
        for columns, part in self._slices("BT", [tensor.double() for tensor in self._operands["BT"]]):
            weight[:, columns] = part.float()
        return weight

    def answer(self, family: Family) -> Answer:
        """Return the float64 results of a family's weights, computed when first asked for."""
        if family not in self._answers:
            self._answers[family] = self._answer(family)
        return self._answers[family]

    def forget_answers(self) -> None:
        """Free the memory of the answers, which at the paper's size is more than all products need."""
        self._answers.clear()
        self._products.clear()

    def _slices(self, family: Family, operands: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Yield W, (J, columns) at a time, each with its place; differentiable in the operands."""
        shape, k = self.shape, 1 if family == "BT" else 0
        width = shape.in_features // shape.in_modes[0]
        equation = weight_equation(family, shape.order)
        for i in range(shape.in_modes[0]):
            parts = [*operands[:k], operands[k][:, i : i + 1], *operands[k + 1 :]]
            part = torch.einsum(equation, *parts).reshape(shape.out_features, width)
            yield slice(i * width, (i + 1) * width), part

    def _answer(self, family: Family) -> Answer:
        """Compute the float64 results; "dense" has those of the block terms, and the gradient of W."""
        source: Family = "TT" if family == "TT" else "BT"
        x = self.x.reshape(self.shape.rows, -1)
        operands = [tensor.double() for tensor in self._operands[source]]
        if source not in self._products:
            gates = x.new_zeros(self.shape.rows, self.shape.out_features, dtype=torch.float64)
            for columns, part in self._slices(source, operands):
                gates += x[:, columns].double() @ part.t()
            self._products[source] = gates
        gates = self._products[source]
        output, d_gates, more = self._recur(gates) if self.layer else (gates, self.d_output.double(), [])
        if self.shape.in_features * self.shape.out_features > LARGEST_CHECKED_GRADIENT:
            return Answer(output, [])
        if family == "dense":
            return Answer(output, [d_gates.t() @ x.double(), *more])
        leaves = [tensor.requires_grad_() for tensor in operands]
        for columns, part in self._slices(source, leaves):
            torch.autograd.backward(part, d_gates.t() @ x[:, columns].double())
        return Answer(output, [_gradient(leaf) for leaf in leaves] + more)

    def _recur(self, products: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the layer's output, the gradient of W x, and those of U and the bias."""
        shape = self.shape
        leaves = [tensor.double().requires_grad_() for tensor in (products, self.recurrent_weight, self.bias)]
        gates, weight, bias = leaves
        hidden = cell = products.new_zeros(shape.batch, shape.hidden_size)
        outputs = []
        for gates_t in (gates + bias).view(shape.time, shape.batch, -1):
            i, f, g, o = (gates_t + hidden @ weight.t()).chunk(4, dim=-1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(hidden)
        output = torch.stack(outputs)
        d_gates, *more = torch.autograd.grad(output, leaves, self.d_output.double())
        return output.detach(), d_gates, more


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def relative_error(given: Tensor, right: Tensor) -> float:
    """Return the largest difference, relative to the largest right number; infinite where one is not a number."""
    error = (given.detach().double() - right).abs().max() / right.abs().max()
    return float(error) if bool(error.isfinite()) else float("inf")


Bytes = Callable[[Shape, bool], int]


@dataclass
class Built:
    """An implementation that holds a problem's weights.

    Attributes:
        call: From the problem's x to the result.
        parameters: What has a gradient.
        gradients: Returns the gradients after a backward pass, laid out as the reference has them; fewer of them where
            the reference has more.
        context: Within which it is called and differentiated.
        record: Makes a graph of a phase's call, which it is given to warm up and to record; None leaves it as it is.
    """

    call: Callable[[Tensor], Tensor]
    parameters: Sequence[Tensor]
    gradients: Callable[[], list[Tensor]]
    context: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)
    record: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Implementation:
    """One way to compute a product or a layer.

    Attributes:
        name: As it stands in the tables.
        family: Whose numbers it must give.
        build: Makes it for a problem.
        bytes_needed: Estimates its memory from the shape, for training or not.
        package: The optional package that it is of.
        largest_error: Of which it is wrong.
    """

    name: str
    family: Family
    build: Callable[[Problem], Built]
    bytes_needed: Bytes
    package: str = ""
    largest_error: float = LARGEST_ERROR

    def left_out(self, shape: Shape, *, training: bool) -> str:
        """Return why it cannot be measured at a shape here; "" where it can."""
        if self.package and find_spec(self.package) is None:
            return f"left out: {self.package} is not installed"
        needed = self.bytes_needed(shape, training)
        return f"left out: needs {needed / 1e9:.1f} GB" if needed > MEMORY_LIMIT else ""


def graphed(implementation: Implementation) -> Implementation:
    """Return the same as two CUDA graphs, of its forward and its backward pass: one launch each, whatever is in them.

    As `torch.cuda.make_graphed_callables` makes them of a user's layer. x is copied into the graph's own at each call.
    """

    def build(problem: Problem) -> Built:
        built = implementation.build(problem)

        def call(x: Tensor, *_: Tensor) -> Tensor:
            return built.call(x)

        with built.context():  # the parameters are arguments as well, for a graph to return their gradients
            replay: Any = torch.cuda.make_graphed_callables(call, (problem.x.clone(), *built.parameters))
        return replace(built, call=lambda x: replay(x, *built.parameters))

    return replace(implementation, name=implementation.name + GRAPH, build=build)


def in_one_graph(implementation: Implementation) -> Implementation:
    """Return the same with each phase as one CUDA graph, as `trainer.graph=true` makes it of a training step."""
    return changed(implementation, ONE_GRAPH, record=Graph)


def changed(implementation: Implementation, ending: str, **changes: Any) -> Implementation:
    """Return the same under a name with an ending, with other attributes where it is built."""

    def build(problem: Problem) -> Built:
        return replace(implementation.build(problem), **changes)

    return replace(implementation, name=implementation.name + ending, build=build)


def leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Let tensors have a gradient."""
    return [tensor.requires_grad_() for tensor in tensors]


def gradient(tensor: Tensor) -> Tensor:
    """Return the gradient that a backward pass has left.

    Raises:
        RuntimeError: There is none.
    """
    if tensor.grad is None:
        raise RuntimeError(f"a parameter of shape {tuple(tensor.shape)} has no gradient after the backward pass")
    return tensor.grad


def step(built: Built, problem: Problem, phase: Phase) -> Callable[[], None]:
    """Make the call that is timed.

    Returns:
        A function that does the phase once: "forward" without gradients, "forward+backward" with those of the weights,
        "training step" with those and one step of Adam.
    """

    def forward() -> None:
        with built.context(), torch.no_grad():
            built.call(problem.x)

    def forward_backward() -> None:
        for parameter in built.parameters:
            parameter.grad = None
        with built.context():
            torch.autograd.backward(built.call(problem.x), problem.d_output)

    calls: dict[Phase, Callable[[], None]] = {"forward": forward, "forward+backward": forward_backward}
    if phase == "training step":
        # so small a step that the weights stay what they are over a hundred rounds
        adam = torch.optim.Adam(list(built.parameters), lr=1e-7, fused=True, capturable=built.record is not None)

        def training_step() -> None:
            forward_backward()
            adam.step()

        calls[phase] = training_step
    call = calls[phase]
    replay: Callable[[], None] = call if built.record is None else built.record(call, call).replay
    return replay


def check(built: Built, problem: Problem, family: Family, phase: Phase) -> float:
    """Return the largest error of the result or, where the phase has a backward pass, of the gradients.

    Each gradient's error is relative to its own largest number. Not a number where the gradients' reference is too
    large to compute.
    """
    right = problem.answer(family)
    if phase == "forward":
        with built.context(), torch.no_grad():
            return relative_error(built.call(problem.x), right.output)
    if not right.gradients:
        return float("nan")
    step(built, problem, "forward+backward")()
    found = built.gradients()
    return max(relative_error(*pair) for pair in zip(found, right.gradients, strict=False))
