"""The parameters of layers: how they are filled anew, named and listed, and which other names are taken.

The lists are ones on which hooks work, such as those of pruning and weight normalisation.

Such a hook computes a tensor anew before each call of the module that it was registered on. A plain nn.ParameterList is
never called, so there it would run once and never again.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.hooks import RemovableHandle


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


def has_hooks(module: nn.Module) -> bool:
    """Return whether calling a module does more than its `forward`; torch lists its kinds of hooks nowhere."""
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return any(getattr(module, kind) for kind in kinds)


def matrix_of(linear_map: nn.Module, in_features: int, like: Tensor) -> Tensor:
    """Return the matrix (out_features, in_features) that a linear map without a bias stands for; differentiable.

    A map that says it itself, by `to_dense()`, is asked, unless it has hooks: those run where a module is called, so it
    is called then, with the identity, which has the device and type of `like`.
    """
    to_dense: Callable[[], Tensor] | None = getattr(linear_map, "to_dense", None)
    if to_dense is not None and not has_hooks(linear_map):
        return to_dense()
    mapped: Tensor = linear_map(torch.eye(in_features, dtype=like.dtype, device=like.device))
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


class NumberedParameters(nn.Module):
    """Some parameters of a layer by number, as nn.ParameterList has them; the layer alone holds them.

    What is done to `(numbered, "0")` is done to `(layer, names[0])`: to the parameter and to what hooks make of it
    ("0_mask"). A hook that is registered on `numbered` runs when the layer is called.

    Args:
        layer: What holds the parameters. It returns such an object as its attribute `attribute`.
        attribute: The attribute's name.
        names: The parameters' names on the layer.
    """

    def __init__(self, layer: nn.Module, attribute: str, names: Sequence[str]) -> None:
        super().__init__()
        vars(self).update(
            _layer=layer,
            _attribute=attribute,
            _names=names,
            _parameters=_Renamed(layer._parameters, names),
            _buffers=_Renamed(layer._buffers, names),
            _forward_pre_hooks=_Hooks(layer._forward_pre_hooks, attribute),
            training=layer.training,
        )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Tensor:
        tensor: Tensor = getattr(self._layer, self._names[index])
        return tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self[k] for k in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        if name[:1].isdigit():
            return getattr(self._layer, _name_on_layer(name, self._names))
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._layer, _name_on_layer(name, self._names), value)

    def __delattr__(self, name: str) -> None:
        delattr(self._layer, _name_on_layer(name, self._names))

    def register_forward_pre_hook(self, hook: Callable[..., Any], **options: Any) -> RemovableHandle:
        """Let the layer call the hook, with this object in the layer's place."""
        layer: nn.Module = self._layer
        return layer.register_forward_pre_hook(_Hook(hook, self._attribute), **options)

    @property
    def parametrizations(self) -> NoReturn:
        """Refuse what must be told to the layer: a parametrization changes the class of the module that it is given."""
        raise TypeError(
            f"a parametrization is registered on the layer itself: give ({type(self._layer).__name__}, "
            f"{self._names[0]!r}) rather than ({self._attribute}, '0')"
        )


class _Hook:
    """A hook that was registered on a layer's `NumberedParameters`, as the layer calls it."""

    def __init__(self, hook: Callable[..., Any], attribute: str) -> None:
        self.hook, self.attribute = hook, attribute

    def __call__(self, layer: nn.Module, *arguments: Any) -> Any:
        return self.hook(getattr(layer, self.attribute), *arguments)


class _Hooks(MutableMapping[int, Callable[..., Any]]):
    """The hooks of a layer that were registered on its `NumberedParameters`."""

    def __init__(self, of_layer: MutableMapping[int, Callable[..., Any]], attribute: str) -> None:
        self._of_layer, self._attribute = of_layer, attribute

    def __getitem__(self, key: int) -> Callable[..., Any]:
        hook = self._of_layer[key]
        if isinstance(hook, _Hook) and hook.attribute == self._attribute:
            return hook.hook
        raise KeyError(key)

    def __setitem__(self, key: int, hook: Callable[..., Any]) -> None:
        self._of_layer[key] = _Hook(hook, self._attribute)

    def __delitem__(self, key: int) -> None:
        del self._of_layer[key]

    def __iter__(self) -> Iterator[int]:
        hooks = list(self._of_layer.items())
        return (key for key, hook in hooks if isinstance(hook, _Hook) and hook.attribute == self._attribute)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Renamed(MutableMapping[str, Any]):
    """The entries of a layer's dictionary that belong to numbered parameters, under their numbers."""

    def __init__(self, of_layer: MutableMapping[str, Any], names: Sequence[str]) -> None:
        self._of_layer, self._names = of_layer, names

    def __getitem__(self, name: str) -> Any:
        return self._of_layer[_name_on_layer(name, self._names)]

    def __setitem__(self, name: str, value: Any) -> None:
        self._of_layer[_name_on_layer(name, self._names)] = value

    def __delitem__(self, name: str) -> None:
        del self._of_layer[_name_on_layer(name, self._names)]

    def __iter__(self) -> Iterator[str]:
        for key in list(self._of_layer):
            begins = [name for name in self._names if key == name or key.startswith(f"{name}_")]
            if begins:  # the longest: weight_hh_l0_reverse begins with weight_hh_l0 too
                name = max(begins, key=len)
                yield f"{self._names.index(name)}{key.removeprefix(name)}"

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _name_on_layer(name: str, names: Sequence[str]) -> str:
    """Turn "0" or "0_mask" into the layer's name; what has no such number stays."""
    number, underscore, rest = name.partition("_")
    known = number.isdigit() and int(number) < len(names)
    return f"{names[int(number)]}{underscore}{rest}" if known else name


def accept_other_keys(module: Any, state_dict: dict[str, Any], prefix: str) -> None:
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
