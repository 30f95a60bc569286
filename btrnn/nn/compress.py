"""From a trained model of dense layers to one of factorised layers: which are replaced, by what, and what it costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from btrnn.nn.conversion import convert, count, input_weights, is_dense_layer, kind_of, kinds_text, outline
from btrnn.nn.input_map import InputMap, check_map
from btrnn.nn.parameters import has_hooks
from btrnn.nn.recurrent import Recurrent


class CompressedLayer(NamedTuple):
    """A layer that was replaced.

    name: As in `named_modules()`; of a layer with several names the first.
    kind: What it was, such as "nn.LSTM".
    input_map: What W is made of now.
    num_weights_before, num_weights_after: Entries of W, and the parameters that stand for it now; of a recurrent layer
        over all layers and directions.
    relative_error: Of W: the Frobenius norm of the difference over that of W.
    """

    name: str
    kind: str
    input_map: InputMap
    num_weights_before: int
    num_weights_after: int
    relative_error: float


@dataclass(frozen=True)
class CompressionReport:
    """What `compress` did: `print(report)` shows it as a table.

    Attributes:
        layers: Those that were replaced, in the order of `named_modules()`.
        num_parameters_before, num_parameters_after: Of the whole module.
    """

    layers: tuple[CompressedLayer, ...]
    num_parameters_before: int
    num_parameters_after: int

    def __str__(self) -> str:
        """Write a table in Markdown, a row for each layer, and a line for the whole module."""
        rows = [("layer", "kind", "map", "W before", "W after", "compression", "error of W")]
        for layer in self.layers:
            counts = _counts(layer.num_weights_before, layer.num_weights_after)
            rows.append((layer.name, layer.kind, str(layer.input_map), *counts, f"{layer.relative_error:.3g}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            f"| {' | '.join(f'{cell:{side}{w}}' for cell, side, w in zip(row, _SIDES, widths, strict=True))} |"
            for row in rows
        ]
        rule = ("-" * (width - (side == ">")) + ":" * (side == ">") for width, side in zip(widths, _SIDES, strict=True))
        lines.insert(1, f"| {' | '.join(rule)} |")
        before, after, ratio = _counts(self.num_parameters_before, self.num_parameters_after)
        whole = f"Parameters of the whole module: {before} before, {after} after, a compression of {ratio}."
        return "\n".join([*lines, "", whole])


_SIDES = "<<<>>>>"  # to which the columns of that table are set


def _counts(before: int, after: int) -> tuple[str, str, str]:
    return f"{before:,}", f"{after:,}", f"{before / after:,.1f}"


@torch.no_grad()
def compress(module: nn.Module, maps: Mapping[str | type[nn.Module], InputMap]) -> CompressionReport:
    """Replace dense layers of a trained model by factorised ones, each as near to it as its map finds, in place.

    nn.Linear becomes the linear map itself; nn.LSTM and the dense `btrnn.LSTM` become a `btrnn.LSTM`, nn.GRU and the
    dense `btrnn.GRU` a `btrnn.GRU`, whose W is factorised in every layer and direction, and whose U and bias are the
    old ones (torch's two biases added). Device, type, training mode, options and what requires gradients stay.
    Parameters are new ones: make the optimizer afterwards.

    The module itself is changed, as by torch.nn.utils.prune; to keep the dense one, give a `copy.deepcopy`. Where an
    error is raised, nothing has been changed. A layer that stands in several places is replaced in all.

    Args:
        module: What holds the layers, at any depth.
        maps: What becomes of which layer. A key is a layer's name (as in `named_modules()`), a pattern of names
            ("encoder.*"), or a type (nn.Linear). Where several keys fit a layer, a name goes before patterns, these go
            before types, and of two patterns or two types the first counts. A map is an object of `btrnn.nn.input_map`,
            or one of your own that has `from_dense`; for nn.Linear its hidden_modes are those of the output.

    Returns:
        What was replaced, with counts and the error of each W. Such an error is no loss of accuracy: measure that, and
        train on.

    Raises:
        ValueError: A key without a layer; or a layer whose sizes its map does not fit, that shares parameters with
            another, is called through hooks, is computed from other parameters (pruned or parametrized), or whose
            weight nn.TransformerEncoderLayer reads past it, unless torch's fast path is off.

    Examples:
        >>> from btrnn.nn.input_map import TensorTrain
        >>> model = nn.Sequential(nn.Linear(64, 36), nn.ReLU(), nn.Linear(36, 10))
        >>> report = compress(model, {"0": TensorTrain((8, 8), (6, 6), rank=4)})
        >>> type(model[0]).__name__, report.num_parameters_before, report.num_parameters_after
        ('TTLinear', 2710, 790)
    """
    choices = _choose(module, maps)
    outlines = []
    for choice in choices:  # sizes and the like are checked before the first decomposition, which may take long
        _check(choice, module)
        with _named(choice):
            outlines.append(outline(choice.layer, choice.input_map))
    converted, before = [], count(module)
    for choice, empty in zip(choices, outlines, strict=True):
        with _named(choice):
            converted.append(convert(choice.layer, choice.input_map, empty))
    for choice, made in zip(choices, converted, strict=True):
        for name in choice.names:
            module.set_submodule(name, made.layer)
    rows = (
        CompressedLayer(choice.names[0], kind_of(choice.layer), choice.input_map, *made[1:])
        for choice, made in zip(choices, converted, strict=True)
    )
    return CompressionReport(tuple(rows), before, count(module))


@contextmanager
def _named(choice: "_Choice") -> Iterator[None]:
    """Let a ValueError begin with the layer's name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{choice}: {error}") from error


# ---- which layers


class _Choice(NamedTuple):
    """A layer, all its names, and what is to become of it."""

    layer: nn.Module
    names: Sequence[str]
    input_map: InputMap

    def __str__(self) -> str:
        return f"{self.names[0]} ({kind_of(self.layer)})"


def _choose(module: nn.Module, maps: Mapping[str | type[nn.Module], InputMap]) -> list[_Choice]:
    """Find the layers that the keys fit, and for each the map of the key that counts.

    Raises:
        ValueError: A key fits no layer, or a value is no map.
    """
    modules: dict[int, tuple[nn.Module, list[str]]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        modules.setdefault(id(part), (part, []))[1].append(name)
    all_names = {name for _, names in modules.values() for name in names}
    recurrent = [name for part, names in modules.values() if isinstance(part, Recurrent) for name in names]
    of_maps = tuple(f"{name}.input_maps." if name else "input_maps." for name in recurrent)  # W, whatever it is made of
    dense = [
        (layer, names)
        for layer, names in modules.values()
        if is_dense_layer(layer) and not names[0].startswith(of_maps)
    ]
    if not dense:
        raise ValueError(f"{type(module).__name__} holds no layer that could be replaced: no {kinds_text()}")
    chosen: dict[int, _Choice] = {}
    for key in sorted(maps, key=lambda key: 2 if isinstance(key, type) else int(key not in all_names)):
        if not isinstance(check_map(f"maps[{key!r}]", maps[key]), InputMap):
            raise ValueError(f"maps[{key!r}] must have from_dense, as InputMap has, got {maps[key]!r}")
        fitting = [(layer, names) for layer, names in dense if _fits(key, layer, names)]
        if not fitting:
            what = f" ({key!r} is of type {kind_of(module.get_submodule(key))})" if key in all_names else ""
            there = ", ".join(f"{names[0]!r} ({kind_of(layer)})" for layer, names in dense)
            raise ValueError(f"maps[{key!r}] fits no {kinds_text()}{what}; there are {there}")
        for layer, names in fitting:
            chosen.setdefault(id(layer), _Choice(layer, names, maps[key]))
    if not chosen:
        raise ValueError("maps is empty: give at least one name, pattern or type, and its map")
    return [chosen[id(layer)] for layer, _ in dense if id(layer) in chosen]


def _fits(key: str | type[nn.Module], layer: nn.Module, names: Sequence[str]) -> bool:
    if isinstance(key, type):
        return isinstance(layer, key)
    return any(name == key or fnmatchcase(name, key) for name in names)


def _check(choice: _Choice, module: nn.Module) -> None:
    """Refuse a layer that is more than its own parameters, or that has no numbers.

    Raises:
        ValueError: It is.
    """
    layer, names, _ = choice
    if layer is module:
        raise ValueError(
            f"the module is itself the {kind_of(layer)} to be replaced, so it cannot be changed in place: put it into "
            f"another one, holder = nn.ModuleList([layer]), give that and the key '0', and take holder[0]"
        )
    parts = list(layer.modules())
    if any(has_hooks(part) for part in parts):
        raise ValueError(
            f"{choice} is called through hooks, which would be lost: remove them (those of pruning and of weight "
            f"normalisation too, by their own functions), and register them on the new layer"
        )
    if any(is_parametrized(part) for part in parts):
        raise ValueError(f"{choice} is parametrized: call torch.nn.utils.parametrize.remove_parametrizations first")
    own = {id(parameter) for parameter in layer.parameters()}
    everywhere = module.named_parameters(remove_duplicate=False)
    if torch.backends.mha.get_fastpath_enabled() and any(
        isinstance(module.get_submodule(name.rpartition(".")[0]), nn.TransformerEncoderLayer) for name in names
    ):
        raise ValueError(
            f"{choice} is part of an nn.TransformerEncoderLayer, which in evaluation reads its weight and never calls "
            f"it: call torch.backends.mha.set_fastpath_enabled(False) first, wherever the model is used"
        )
    within = tuple(f"{name}." for name in names)
    shared = [name for name, parameter in everywhere if id(parameter) in own and not name.startswith(within)]
    if shared:
        raise ValueError(
            f"{choice} shares parameters with {', '.join(shared)}, which the new layer could not: "
            f"leave it out, or give it parameters of its own"
        )
    for weight in input_weights(layer):
        if weight.is_meta or not weight.is_floating_point():
            raise ValueError(f"{choice} must hold real numbers, got {weight.dtype} on the device {weight.device}")
