"""One plan of a contraction as a drawing: the axes of the running tensor before and after each stage, and its size.

The drawing is made of the plan itself whenever the site is built, so that it cannot show one that is no longer taken.
"""

from btrnn import BTLinear, native

ROWS = 96  # 16 clips of 6 frames
_CHIP, _GAP, _STEP, _LEFT, _BAR = 46, 4, 104, 8, 250


def draw_plan() -> str:
    """Draw the plan of the paper's main setting in plain torch, as an SVG and as `print(layer.plan(96))` writes it.

    Returns:
        HTML and Markdown for a page.
    """
    layer = BTLinear((8, 20, 20, 18), (16, 4, 4, 4), tucker_rank=4, num_blocks=2)
    with native.disabled():  # the same drawing with and without a compiler
        plan = layer.plan(ROWS)
    network, rows = plan.network, plan.batch_size * plan.network.num_blocks
    states = [plan.stages[0].before, *(stage.after for stage in plan.stages)]
    sizes = [4 * network.size(axes) * rows / 2**20 for axes in states]
    parts = []
    for number, (axes, size) in enumerate(zip(states, sizes, strict=True)):
        top = number * _STEP + 4
        summed = plan.stages[number].contracted if number < len(plan.stages) else ()
        for place, axis in enumerate(axes):
            parts.append(_chip(_LEFT + place * (_CHIP + _GAP), top, axis, network.sizes[axis], axis in summed))
        width = max(2.0, _BAR * size / max(sizes))
        parts.append(f'<rect class="bar" x="300" y="{top + 12}" width="{width:.0f}" height="18" rx="2"/>')
        parts.append(f'<text x="{308 + width:.0f}" y="{top + 26}">{size:.1f} MiB</text>')
        if number < len(plan.stages):
            stage = plan.stages[number]
            names = " and ".join(_operand(network.operands[k]) for k in stage.operands)
            operations = 2 * network.size(stage.before) * rows * network.size(stage.columns) / 1e6
            text = f"stage {number + 1}: times {names}; sums {network.size(stage.contracted):,} numbers"
            parts.append(f'<text x="{_LEFT + 22}" y="{top + 76}">↓ {text}; {operations:,.0f} MFLOP</text>')
    height = len(plan.stages) * _STEP + 56
    label = f"The {len(plan.stages)} stages of W x"
    drawing = f'<svg viewBox="0 0 660 {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f'<div class="plan">{drawing}</div>\n\n```text\n{plan}\n```'


def _chip(left: int, top: int, axis: str, size: int, summed: bool) -> str:
    name = f"{axis[0].upper()}{int(axis[1:]) + 1}"
    mark = " summed" if summed else ""
    middle = left + _CHIP // 2
    return (
        f'<rect class="{axis[0]}{mark}" x="{left}" y="{top}" width="{_CHIP}" height="42" rx="4"/>'
        f'<text class="axis" x="{middle}" y="{top + 18}">{name}</text>'
        f'<text class="axis" x="{middle}" y="{top + 35}">{size}</text>'
    )


def _operand(axes: tuple[str, ...]) -> str:
    modes = [int(axis[1:]) + 1 for axis in axes if axis[0] == "i"]
    return f"factor A{modes[0]}" if modes else "core G"
