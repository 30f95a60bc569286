"""A GPU kept busy: work on tensors that stay where they are, as one CUDA graph, and training steps of that kind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class Graph(Generic[T]):
    """Work on tensors that stay where they are, recorded as one CUDA graph: one launch, whatever is in it.

    Args:
        warm_up: Does as much of it as has no lasting effect: at a first call libraries load and choose their kernels.
        work: Is called once, and recorded instead of done.
    """

    def __init__(self, warm_up: Callable[[], object], work: Callable[[], T]) -> None:
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            warm_up()
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(self._graph, stream=stream):
            self._result = work()

    def replay(self) -> T:
        """Do the work; its result stands in the same tensors each time."""
        self._graph.replay()
        return self._result


class GraphedSteps:
    """Training steps as CUDA graphs, one for each shape of a batch: network, loss, backward pass, clipping and Adam.

    Random numbers are those that the step would draw without: a graph takes seed and place of torch's generator when it
    is replayed. Adam has its rate as float32 from the device, else the arithmetic is the same. The optimiser must have
    done a step.

    Args:
        task: A `btrnn.tasks.Task`, in training.
    """

    make: ClassVar[Callable[..., Any]] = Graph

    def __init__(self, task: Any) -> None:
        self._task = task
        self._graphs: dict[tuple[torch.Size, ...], tuple[list[Tensor], Any]] = {}
        self._rates: list[Tensor] = []

    def __call__(self, batch: Any) -> Any:
        """Do a step; if the loss is not finite, the weights and Adam's state stay as they are.

        Args:
            batch: A named tuple, for which the task's `repeats` holds.

        Returns:
            What the task measures, a `btrnn.tasks.task.Measured`, cut off from the weights; the next step changes it.
        """
        tensors = [part for part in batch if isinstance(part, Tensor)]
        shapes = tuple(tensor.shape for tensor in tensors)
        groups = self._task.trainer.optimizers[0].param_groups
        if not self._graphs:
            self._rates = [torch.zeros((), device=tensors[0].device) for _ in groups]
        if shapes not in self._graphs:
            own = batch._make(part.clone() if isinstance(part, Tensor) else part for part in batch)
            self._graphs[shapes] = [part for part in own if isinstance(part, Tensor)], self._record(own)
        places, graph = self._graphs[shapes]
        for place, tensor in zip(places, tensors, strict=True):
            place.copy_(tensor)
        for place, group in zip(self._rates, groups, strict=True):
            place.fill_(group["lr"])
        return graph.replay()

    def _record(self, batch: Any) -> Any:
        task, trainer, device = self._task, self._task.trainer, batch[0].device
        optimizer: Any = trainer.optimizers[0]

        def warm_up() -> None:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.autograd.grad(task.measure(batch).loss, [*task.parameters()], allow_unused=True)

        def work() -> Any:
            optimizer.zero_grad()
            measured = task.measure(batch)
            loss, metrics = measured.loss, measured.metrics
            with torch.autocast(device.type, enabled=False):
                loss.backward()
                task.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
                with self._rates_of_device(optimizer, (~loss.isfinite()).float()):
                    optimizer.step()
            detached = {name: value.detach() for name, value in metrics.items()}
            return measured._replace(loss=loss.detach(), metrics=detached)

        return type(self).make(warm_up, work)

    @contextmanager
    def _rates_of_device(self, optimizer: Any, skip: Tensor) -> Iterator[None]:
        """Let the optimiser take its rates from the device, and do nothing where `skip` is 1; it is as before then."""
        before = [{key: group[key] for key in ("lr", "capturable")} for group in optimizer.param_groups]
        for rate, group in zip(self._rates, optimizer.param_groups, strict=True):
            group |= {"lr": rate, "capturable": True}
        optimizer.found_inf = skip  # what torch's scaler of losses says to a fused Adam
        try:
            yield
        finally:
            del optimizer.found_inf
            for values, group in zip(before, optimizer.param_groups, strict=True):
                group |= values
