"""What products and layers have in common: an implementation is built from a problem, and called."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from btrnn.benchmark.measure.reference import Problem, relative_error
from btrnn.benchmark.results.costs import Family, Phase
from btrnn.benchmark.results.settings import GRAPH, Shape

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
    """

    call: Callable[[Tensor], Tensor]
    parameters: Sequence[Tensor]
    gradients: Callable[[], list[Tensor]]
    context: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)


@dataclass(frozen=True)
class Implementation:
    """One way to compute a product or a layer.

    Attributes:
        name: As it stands in the tables.
        family: Whose numbers it must give.
        build: Makes it for a problem.
        bytes_needed: Estimates its memory from the shape, for training or not.
        package: The optional package that it is of.
    """

    name: str
    family: Family
    build: Callable[[Problem], Built]
    bytes_needed: Bytes
    package: str = ""

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return not self.package or find_spec(self.package) is not None


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

    if phase == "forward":
        return forward
    if phase == "forward+backward":
        return forward_backward
    # so small a step that the weights stay what they are over a hundred rounds
    adam = torch.optim.Adam(list(built.parameters), lr=1e-7, fused=True)

    def training_step() -> None:
        forward_backward()
        adam.step()

    return training_step


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
