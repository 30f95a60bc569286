"""Stages of a product in the native kernel of `btrnn/ops/native/stages.cpp`: what it is told, and its gradients."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from btrnn.ops import native
from btrnn.ops.dispatch import is_plain
from btrnn.ops.native.processor import VECTOR_BYTES
from btrnn.ops.stages import Axes, Stage, TensorNetwork


@dataclass(frozen=True)
class Chain:
    """Native stages that follow one another.

    Attributes:
        network: What is contracted.
        tile_modes: How many leading axes of x are split into tiles.
        stages: The stages.
        sum_blocks: Whether the last stage adds up the blocks.
    """

    network: TensorNetwork
    tile_modes: int
    stages: tuple[Stage, ...]
    sum_blocks: bool

    @cached_property
    def tile_size(self) -> int:
        """Numbers of x in a tile."""
        return self.network.size(self.network.in_axes[self.tile_modes :])

    @cached_property
    def out_blocks(self) -> int:
        """Blocks of the result."""
        return 1 if self.sum_blocks else self.network.num_blocks


def run_stages(chain: Chain, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Run native stages.

    Args:
        chain: The stages.
        x: (B, I).
        matrices: For each stage (N, contracted, columns).

    Returns:
        (tiles, N, ...) with the last stage's axes in their order, the last of them in a dimension of their own; N is 1
        where the blocks are summed.
    """
    result: Tensor = _NativeStages.apply(chain, x, *matrices)
    return result[..., : _layouts(chain, x.element_size())[-1].width]


class _NativeStages(torch.autograd.Function):
    """The kernel's result, with its padding."""

    @staticmethod
    def forward(ctx: Any, chain: Chain, x: Tensor, *matrices: Tensor) -> Tensor:
        ctx.chain = chain
        ctx.save_for_backward(x, *matrices)
        x = x.contiguous()
        call = _Call(chain, x, matrices)
        out = call.new_out()
        call.run("forward", out)
        return out

    @staticmethod
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, *matrices = ctx.saved_tensors
        needs_x, *needs = ctx.needs_input_grad[1:]
        again = torch.is_grad_enabled()
        if again or not is_plain(d_out):  # to be differentiated again or forwards, or many at once: torch does it all
            # under new names, so that no gradient goes on from one of them into another that it was made of
            with torch.enable_grad():
                x, *matrices = (tensor.view_as(tensor) for tensor in (x, *matrices))
                wanted = [tensor for tensor, need in zip((x, *matrices), (needs_x, *needs), strict=True) if need]
                result = torch_stages(ctx.chain, x, matrices)
                layout = _layouts(ctx.chain, x.element_size())[-1]
                result = result.reshape(*d_out.shape[:-1], layout.width)
                padded = torch.nn.functional.pad(result, (0, layout.padded_width - layout.width))
            found = iter(torch.autograd.grad(padded, wanted, d_out, create_graph=again))
            return None, *(next(found) if need else None for need in (needs_x, *needs))
        x, d_out = x.contiguous(), d_out.contiguous()
        d_x = torch.empty_like(x) if needs_x else None
        call = _Call(ctx.chain, x, matrices, gradients=True)
        call.run("backward", d_out, d_x)
        return None, d_x, *(g if need else None for g, need in zip(call.gradients, needs, strict=True))


def torch_stages(chain: Chain, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Do what the kernel does, in torch and without padding: its definition, differentiable any number of times."""
    network = chain.network
    sizes = network.sizes
    running = x.reshape(-1, 1, *(sizes[axis] for axis in network.in_axes[chain.tile_modes :]))
    running = running.expand(-1, network.num_blocks, *running.shape[2:])
    for stage, matrix in zip(chain.stages, matrices, strict=True):
        order = [2 + stage.before.index(axis) for axis in (*stage.rows, *stage.contracted)]
        rows = running.permute(0, 1, *order).reshape(*running.shape[:2], network.size(stage.rows), matrix.shape[1])
        axes = (*stage.rows, *stage.columns)
        running = (rows @ matrix).reshape(running.shape[0], network.num_blocks, *(sizes[axis] for axis in axes))
        running = running.permute(0, 1, *[2 + axes.index(axis) for axis in stage.after])
    return running.sum(dim=1, keepdim=True) if chain.sum_blocks else running


class _Stage(ctypes.Structure):
    """The kernel's Stage."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("depth", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("row_offset", ctypes.c_void_p),
        ("depth_offset", ctypes.c_void_p),
        ("matrix", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
    )


class _Call:
    """One call of the kernel: the arguments, and the tensors that they point to, kept alive."""

    def __init__(self, chain: Chain, x: Tensor, matrices: Sequence[Tensor], *, gradients: bool = False) -> None:
        self.chain, self.x = chain, x
        self.matrices = [matrix.contiguous() for matrix in matrices]
        self.gradients = [torch.empty_like(matrix) for matrix in self.matrices] if gradients else []
        layouts = _layouts(chain, x.element_size())
        stages = []
        for k, layout in enumerate(layouts):
            gradient = self.gradients[k].data_ptr() if gradients else None
            sides = (len(layout.row_offset), *self.matrices[k].shape[1:], layout.inner)
            offsets = (ctypes.addressof(layout.row_offset), ctypes.addressof(layout.depth_offset))
            stages.append(_Stage(*sides, *offsets, self.matrices[k].data_ptr(), gradient))
        self.stages = (_Stage * len(stages))(*stages)
        self.tiles = x.numel() // chain.tile_size
        self.last = layouts[-1]

    def new_out(self) -> Tensor:
        """Return a tensor for the result, with its padding."""
        chain, last = self.chain, self.last
        runs = chain.network.size(chain.stages[-1].after) // last.width
        return self.x.new_empty(self.tiles, chain.out_blocks, runs, last.padded_width)

    def run(self, name: str, *tensors: Tensor | None) -> None:
        """Call the library's function `name` with x and further tensors."""
        sizes = (len(self.stages), self.chain.network.num_blocks, self.tiles, self.chain.tile_size)
        native.function(name, self.x.dtype)(
            self.stages,
            *map(ctypes.c_int64, sizes),
            ctypes.c_int(self.chain.sum_blocks),
            *map(native.address, (self.x, *tensors)),
            ctypes.c_int(torch.get_num_threads()),
        )


def _padded(columns: int, itemsize: int) -> int:
    lanes = VECTOR_BYTES // itemsize
    return -(-columns // lanes) * lanes


class _Layout(NamedTuple):
    """Where a stage finds its numbers, and how it leaves them.

    Attributes:
        row_offset, depth_offset: Where its rows and its contracted entries begin in the tensor that it reads.
        inner: Of a stage of the form "inner", the length of the runs that vectors lie along, padding included; else 0.
        width: How many numbers stand together at the end of the tensor that it puts out.
        padded_width: The same with the padding behind them.
    """

    row_offset: ctypes.Array[ctypes.c_int32]
    depth_offset: ctypes.Array[ctypes.c_int32]
    inner: int
    width: int
    padded_width: int


@lru_cache(maxsize=1024)
def _layouts(chain: Chain, itemsize: int) -> tuple[_Layout, ...]:
    """Work out every stage's layout."""
    network, layouts = chain.network, list[_Layout]()
    sizes = network.sizes
    together = chain.stages[0].before[-1:]  # the last axes, up to which there is no padding
    width = padded = network.size(together)
    strides = _strides(chain.stages[0].before, sizes)
    for stage in chain.stages:
        outer, inner = stage.outer, 0
        tables = (_table(outer, sizes, strides), _table(stage.contracted, sizes, strides))
        if stage.form == "inner":
            inner = strides[stage.inner[0]] * sizes[stage.inner[0]]
            kept = {axis: strides[axis] for axis in stage.inner}
            strides = kept | _strides(outer + stage.columns, sizes, inner)
            if len(stage.inner) <= len(together):
                together, width, padded = stage.inner, inner, inner
        else:
            together, width = stage.columns, network.size(stage.columns)
            padded = _padded(width, itemsize)
            strides = _strides(together, sizes) | _strides(outer, sizes, padded)
        layouts.append(_Layout(*tables, inner, width, padded))
    return tuple(layouts)


def _strides(axes: Axes, sizes: dict[str, int], innermost: int = 1) -> dict[str, int]:
    """Return each axis's stride in a row-major tensor."""
    strides = {}
    for axis in reversed(axes):
        strides[axis] = innermost
        innermost *= sizes[axis]
    return strides


def _table(axes: Axes, sizes: dict[str, int], strides: dict[str, int]) -> ctypes.Array[ctypes.c_int32]:
    """List the offsets of all entries of some axes, row-major, as C integers."""
    offsets = [0]
    for axis in axes:
        steps = range(0, strides[axis] * sizes[axis], strides[axis])
        offsets = [offset + step for offset in offsets for step in steps]
    return (ctypes.c_int32 * len(offsets))(*offsets)
