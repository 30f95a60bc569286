"""Counting what would start a kernel: on a GPU most of the time goes into that, and it can be counted without one."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class LaunchCounter(TorchDispatchMode):
    """Counts the operations within it that would each start a kernel: all but views and the making of empty tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0
        self._within_one = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_one = not (func.is_view or "empty" in func.__name__ or "_unsafe_view" in func.__name__)
        self.launches += is_one and not self._within_one
        return func(*args, **(kwargs or {}))

    def as_one(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose operations count as one, for what stands in for a single kernel."""

        def call(*args: Any) -> Any:
            self.launches += 1
            self._within_one = True
            try:
                return function(*args)
            finally:
                self._within_one = False

        return call
