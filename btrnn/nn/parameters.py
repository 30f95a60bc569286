"""The parameters of layers: how they are filled anew and listed, and which other names are taken.

The lists are ones on which hooks work, such as those of pruning and weight normalisation.

Such a hook computes a tensor anew before each call of the module that it was registered on. A plain nn.ParameterList is
never called, so there it would run once and never again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


@contextmanager
def to_fill(places: Sequence[tuple[nn.Module, str]]) -> Iterator[list[Tensor]]:
    """Yield the tensors to fill, so that tensors of modules have new numbers, whatever computes them.

    Args:
        places: The modules, and the names of their tensors.

    Raises:
        RuntimeError: A tensor is computed by something else than pruning or a parametrization.
    """
    tensors = [_stored(module, name) for module, name in places]
    yield tensors
    for (module, name), tensor in zip(places, tensors, strict=True):
        if is_parametrized(module, name):
            setattr(module, name, tensor)


def _stored(module: nn.Module, name: str) -> Tensor:
    for key in (name, f"{name}_orig"):  # the second where it is pruned
        stored = module._parameters.get(key)
        if stored is not None:
            return stored
    if is_parametrized(module, name):
        return torch.empty_like(getattr(module, name))
    raise RuntimeError(
        f"{name} of {type(module).__name__} is not a parameter but computed from others, so it cannot be drawn anew; "
        f"remove what computes it first (weight normalisation, say), or use a parametrization"
    )


def reset(module: nn.Module) -> None:
    """Draw a module's parameters anew, by its own method or by those of its parts."""
    own: Callable[[], None] | None = getattr(module, "reset_parameters", None)
    if own is not None:
        own()
    else:
        for part in module.children():
            reset(part)


def matrix_of(linear_map: nn.Module, in_features: int) -> Tensor:
    """Return the matrix (out_features, in_features) that a linear map without a bias stands for; differentiable.

    A map that says it itself, by `to_dense()`, is asked, unless it has hooks: those run where a module is called, so it
    is called then, with the identity.
    """
    hooks = (linear_map._forward_pre_hooks, linear_map._forward_hooks, linear_map._backward_hooks)
    to_dense: Callable[[], Tensor] | None = getattr(linear_map, "to_dense", None)
    if to_dense is not None and not any(hooks):
        return to_dense()
    parameter = next(linear_map.parameters())
    mapped: Tensor = linear_map(torch.eye(in_features, dtype=parameter.dtype, device=parameter.device))
    return mapped.t()


class CalledParameters(nn.ParameterList):
    """A ParameterList that its module calls to get its tensors, so that its hooks run."""

    __call__ = nn.Module.__call__  # nn.ParameterList forbids it

    @classmethod
    def empty(
        cls, shapes: Iterable[Sequence[int]], device: torch.device | str | None, dtype: torch.dtype | None
    ) -> "CalledParameters":
        """Make parameters of these shapes, to be filled."""
        return cls(nn.Parameter(torch.empty(*shape, device=device, dtype=dtype)) for shape in shapes)

    def forward(self) -> tuple[Tensor, ...]:
        """Return the tensors in their order, as a tuple, which hooks on the backward pass need."""
        return tuple(self)


def accept_other_keys(module: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename parameters in `state_dict` that have torch's names, or this layer's earlier ones (weight_hh.0, bias.0).

    Torch's two bias vectors become what the layer makes of them. A factorised map has nothing of the name that its
    weight_ih is given, so load_state_dict names it as unexpected there.
    """
    for k, suffix in enumerate(module._suffixes):
        for old, new in (
            (f"weight_ih{suffix}", f"input_maps.{k}.weight"),
            (f"weight_hh.{k}", f"weight_hh{suffix}"),
            (f"bias.{k}", f"bias{suffix}"),
        ):
            for rest in ("", "_orig", "_mask"):  # the last two where it is pruned
                if prefix + old + rest in state_dict:
                    state_dict[prefix + new + rest] = state_dict.pop(prefix + old + rest)
        both = [f"{prefix}bias_{kind}{suffix}" for kind in ("ih", "hh")]
        if all(name in state_dict for name in both):
            made = module._biases_from_torch(*(state_dict.pop(name) for name in both))
            state_dict.update({f"{prefix}{name}{suffix}": bias for name, bias in made.items()})
