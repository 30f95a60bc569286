"""The whole benchmark: which settings, in which order, within which time."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter

import torch

from btrnn.benchmark.measure import layers, products
from btrnn.benchmark.measure.implementations import Implementation, Problem
from btrnn.benchmark.measure.timing import QUICK, Cells, Effort, Visitor, measure_rates, roofline_seconds
from btrnn.benchmark.records import SECTIONS, Record, RecordFile, note_machine, record, section_path
from btrnn.benchmark.settings import (
    DEVICE_SWEEPS,
    INPUT_SHAPES,
    PAPER,
    PRODUCT_SWEEPS,
    TIME_SWEEP,
    TINY,
    Family,
    Phase,
    Point,
    Shape,
    visits,
)
from btrnn.engine.machine import describe_machine, reuse_freed_memory, start_memory_anew

log = logging.getLogger(__name__)
PRODUCT_PHASES: tuple[Phase, ...] = ("forward", "forward+backward")
LAYER_PHASES: tuple[Phase, ...] = (*PRODUCT_PHASES, "training step")
TIME_IS_UP = "left out: the time was over"
MEMORY_FACTORS = ("rank", "blocks", "order")
_SPARE = 0.95  # of the time: a setting that has begun is finished
Sweeps = dict[str, dict[int, Shape]]


@dataclass(frozen=True)
class Options:
    """What to measure, and how much of it.

    Attributes:
        results_dir: Where the CSV files go.
        device: "cpu" or "cuda".
        seconds: For all sections together. What must be done in any case may take longer.
        sections: Of `SECTIONS`.
        effort: How often each call is timed.
        paper: The shape of the sections product, layer and memory.
        product_sweeps, time_sweep: The shapes of the sections sweep and layer_sweep.
        memory_models: Layers whose memory is measured.
        memory_inputs: The input sizes over which memory is measured.
        memory_sweeps: The shapes of the section memory_sweep.
        device_sweeps: Those of the section device_sweep, of a GPU.
    """

    results_dir: Path
    device: str = "cpu"
    seconds: float = 1_700.0
    sections: tuple[str, ...] = SECTIONS
    effort: Effort = field(default_factory=Effort)
    paper: Shape = PAPER
    product_sweeps: Sweeps = field(default_factory=lambda: PRODUCT_SWEEPS)
    time_sweep: Sweeps = field(default_factory=lambda: {"time": TIME_SWEEP})
    memory_models: tuple[Implementation, ...] = tuple(layers.LAYERS)
    memory_inputs: dict[int, Shape] = field(default_factory=lambda: INPUT_SHAPES)
    memory_sweeps: Sweeps = field(default_factory=lambda: {name: PRODUCT_SWEEPS[name] for name in MEMORY_FACTORS})
    device_sweeps: Sweeps = field(default_factory=lambda: DEVICE_SWEEPS)


def quick_options(results_dir: Path, device: str, sections: tuple[str, ...]) -> Options:
    """Return options for a try: tiny shapes, two or three rounds."""
    return Options(
        results_dir,
        device,
        seconds=45.0,
        sections=sections,
        effort=QUICK,
        paper=TINY,
        product_sweeps={"batch": {1: replace(TINY, batch=1), 4: TINY}},
        time_sweep={"time": {3: TINY, 9: replace(TINY, time=9)}},
        memory_models=(layers.DENSE, layers.OURS_BT),
        memory_inputs={},
        memory_sweeps={"rank": {2: TINY}, "blocks": {2: TINY}},
        device_sweeps={"batch": {4: TINY}, "time": {3: TINY}},
    )


@dataclass(frozen=True)
class Part:
    """A part of the benchmark that is done at a stretch.

    Attributes:
        section: Of which section.
        title: For the progress bar.
        weight: Its share of the time.
        measure: Returns its rows; is told when to end, in `perf_counter`'s seconds, which may be now.
    """

    section: str
    title: str
    weight: float
    measure: Callable[[float], list[Record]]


def run(options: Options, progress: Callable[[int, int, str], None]) -> None:
    """Measure everything and write each section's CSV file, after every setting.

    Args:
        options: What, and how much.
        progress: Told how many parts are done, of how many, and what comes next.
    """
    device = torch.device(options.device)
    if device.type == "cpu":
        reuse_freed_memory()
    else:  # nn.LSTM alone would round its products' operands to 10 bits
        torch.backends.cudnn.allow_tf32 = False
    end = perf_counter() + options.seconds
    parts = list(_parts(options, device))
    files = {name: RecordFile(section_path(options.results_dir, name, options.device)) for name in options.sections}
    machine = describe_machine(device)
    for number, part in enumerate(parts):
        progress(number, len(parts), part.title)
        start_memory_anew()  # what the last part needed is given back
        now, weights = perf_counter(), sum(other.weight for other in parts[number:])
        rows = part.measure(now + max(end - now, 0.0) * part.weight / weights)
        if not files[part.section].records:
            note_machine(options.results_dir, part.section, options.device, machine)
        files[part.section].add(rows)
    progress(len(parts), len(parts), "done")


def measure(results_dir: Path, sections: Sequence[str], minutes: float, *, quick: bool = False) -> list[str]:
    """Measure some sections on the CPU, and on a GPU if there is one, and log how far it is; returns these devices.

    Args:
        results_dir: Where the CSV files go; those of other sections stay.
        sections: Of `SECTIONS`.
        minutes: For everything together.
        quick: Tiny shapes and few rounds instead, whatever the time.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    devices = ["cpu"] if set(sections) - {"device_sweep"} else []
    devices += ["cuda"] if sections and torch.cuda.is_available() else []
    for device in devices:
        options = Options(results_dir, device, 60 * minutes * _SPARE / len(devices), tuple(sections))
        if quick:
            options = quick_options(results_dir, device, tuple(sections))
        run(options, partial(log.info, f"{device}, %d of %d: %s"))
    return devices


def _parts(options: Options, device: torch.device) -> Iterator[Part]:
    """Yield all parts, the most wanted first."""
    paper = [Point("paper", options.paper.in_features)]
    visitor = Visitor(device, options.effort)
    gpu = device.type == "cuda"
    if "product" in options.sections:
        implementations = products.PRODUCTS + (products.GRAPHED_PRODUCTS if gpu else [])
        yield _visit_part(visitor, "product", options.paper, paper, implementations, weight=8.0)
        yield _roofline_part(options, device)
    if "layer" in options.sections:
        implementations = layers.LAYERS + (layers.GRAPHED_LAYERS if gpu else [])
        yield _visit_part(visitor, "layer", options.paper, paper, implementations, weight=8.0, layer=True)
    if "memory" in options.sections:
        yield from _memory_parts(options)
    if "device_sweep" in options.sections and gpu:
        yield from _device_parts(options, visitor)
    if "memory_sweep" in options.sections:
        of_trains = {factor: shapes for factor, shapes in options.memory_sweeps.items() if factor != "blocks"}
        for model, sweeps in ((layers.OURS_BT, options.memory_sweeps), (layers.OURS_TT, of_trains)):
            for shape, points in visits(sweeps):
                yield _memory_part(options, model, shape, points, section="memory_sweep")
    if "layer_sweep" in options.sections:
        peerless = [layers.TORCH, layers.DENSE, layers.OURS_BT, layers.PLAIN_BT, layers.OURS_TT, layers.PLAIN_TT]
        for shape, points in visits(options.time_sweep):
            yield _visit_part(visitor, "layer_sweep", shape, points, peerless, layer=True)
    if "sweep" in options.sections:
        for shape, points in visits(options.product_sweeps):
            yield _visit_part(visitor, "sweep", shape, points, products.SWEPT_PRODUCTS)


def _visit_part(
    visitor: Visitor,
    section: str,
    shape: Shape,
    points: list[Point],
    implementations: Sequence[Implementation],
    *,
    weight: float = 1.0,
    layer: bool = False,
) -> Part:
    """Make the part of a shape, which stands for some points."""
    phases = LAYER_PHASES if layer and section != "layer_sweep" else PRODUCT_PHASES
    title = ", ".join(f"{point.factor} {point.value:,}" for point in points)

    def measure(end: float) -> list[Record]:
        cells: Cells
        if section.endswith("sweep") and perf_counter() >= end:
            cells = {(each.name, phase): {"note": TIME_IS_UP} for each, phase in product(implementations, phases)}
        else:
            cells = visitor.visit(Problem(shape, visitor.device, layer=layer), implementations, phases, end)
        return [
            record(section, point, name, phase, **numbers)
            for point in points
            for (name, phase), numbers in cells.items()
        ]

    return Part(section, f"{section}: {title}", weight, measure)


def _roofline_part(options: Options, device: torch.device) -> Part:
    """Make the part that measures the machine's rates and says what they allow."""
    shape, point = options.paper, Point("paper", options.paper.in_features)
    families: tuple[Family, ...] = ("BT", "TT")

    def measure(_: float) -> list[Record]:
        rates = measure_rates(device, options.effort, small=shape != PAPER)
        note = f"{rates.flops / 1e9:.0f} GFLOP/s, {rates.bytes_read / 1e9:.1f} GB/s"
        rows = []
        for family, phase in product(families, PRODUCT_PHASES):
            best, middle = (1000 * seconds for seconds in roofline_seconds(shape, family, phase, rates))
            times = {"best_ms": best, "median_ms": middle, "rounds": 1}
            rows.append(record("product", point, f"roofline {family}", phase, **times, note=note))
        return rows

    return Part("product", "roofline", 0.2, measure)


def _device_parts(options: Options, visitor: Visitor) -> Iterator[Part]:
    """Yield the parts of a GPU's sweeps: layers, of which memory too, and where the batch is varied products."""
    recorded = visitor.device.type == "cuda"
    for model in (layers.TORCH, layers.OURS_BT):
        yield _memory_part(options, model, options.paper, [Point("allocator", 1)], section="device_sweep")
    for factor, shapes in options.device_sweeps.items():
        for shape, points in visits({factor: shapes}):
            kinds = layers.DEVICE_LAYERS + (layers.GRAPHED_DEVICE_LAYERS if recorded else [])
            yield _visit_part(visitor, "device_sweep", shape, points, kinds, layer=True)
            if factor == "batch":
                kinds = products.DEVICE_PRODUCTS + (products.GRAPHED_DEVICE_PRODUCTS if recorded else [])
                yield _visit_part(visitor, "device_sweep", shape, points, kinds)


def _memory_parts(options: Options) -> Iterator[Part]:
    """Yield a part for each process: models at the paper's shape, with and without reuse, then over input sizes."""
    paper = options.paper
    for model in options.memory_models:
        yield _memory_part(options, model, paper, [Point("allocator", 1)])
        yield _memory_part(options, model, paper, [Point("allocator", 0)], reuse=False)
    for size, shape in options.memory_inputs.items():
        for model in (layers.DENSE, layers.OURS_BT, layers.OURS_TT):
            yield _memory_part(options, model, shape, [Point("input", size)])


def _memory_part(
    options: Options,
    model: Implementation,
    shape: Shape,
    points: list[Point],
    *,
    section: str = "memory",
    reuse: bool = True,
) -> Part:
    """Make the part of a process that trains a model at a shape, which stands for some points."""

    def measure(_: float) -> list[Record]:
        columns: dict[str, object] = {"note": model.left_out(shape, training=True)}
        if not columns["note"]:
            steps, threads = options.effort.least_rounds, torch.get_num_threads()
            columns = layers.measure_apart(layers.Job(model.name, shape, reuse, steps, options.device, threads))
        if section == "memory_sweep":  # its few steps are no measure of time
            columns = {name: value for name, value in columns.items() if name in ("peak_mib", "note")}
        return [record(section, point, model.name, "training step", **columns) for point in points]

    title = ", ".join(f"{point.factor} {point.value:,}" for point in points)
    return Part(section, f"{section}: {model.name}, {title}", 0.3, measure)
