"""Lists of parameters on which hooks work, such as those of pruning and weight normalisation.

Such a hook computes a tensor anew before each call of the module that it was registered on. A plain nn.ParameterList is
never called, so there it would run once and never again.
"""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def stored(module: nn.Module, name: str) -> Tensor:
    """Return the parameter to change for a tensor of this name to change: pruning computes the tensor from it."""
    pruned = module._parameters.get(f"{name}_orig")
    tensor: Tensor = getattr(module, name) if pruned is None else pruned
    return tensor


class CalledParameters(nn.ParameterList):
    """A ParameterList that its module calls to get its tensors, so that its hooks run."""

    __call__ = nn.Module.__call__  # nn.ParameterList forbids it

    def forward(self) -> list[Tensor]:
        """Return the tensors in their order."""
        return list(self)


class NumberedParameters(nn.Module):
    """Some parameters of a layer by number, as nn.ParameterList has them; the layer alone holds them.

    What is done to `(numbered, "0")` is done to `(layer, names[0])`: the parameter, what hooks make of it ("0_mask"), and
    the hooks themselves, which then run when the layer is called.

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

    def register_forward_pre_hook(self, hook: Callable[..., Any], **options: Any) -> RemovableHandle:  # type: ignore[override]
        """Let the layer call the hook, with this object in the layer's place."""
        return self._layer.register_forward_pre_hook(_Hook(hook, self._attribute), **options)

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


class _Hooks(dict[int, Callable[..., Any]]):
    """The hooks of a layer that were registered on its `NumberedParameters`; what is deleted here is deleted there."""

    def __init__(self, of_layer: MutableMapping[int, Callable[..., Any]], attribute: str) -> None:
        own = ((key, hook) for key, hook in of_layer.items() if isinstance(hook, _Hook))
        super().__init__((key, hook.hook) for key, hook in own if hook.attribute == attribute)
        self._of_layer = of_layer

    def __delitem__(self, key: int) -> None:
        super().__delitem__(key)
        del self._of_layer[key]


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
