"""The whole benchmark: which settings, in which order, within which time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import torch

from btrnn.benchmark.measure import layers, memory, products
from btrnn.benchmark.measure.description import describe_machine
from btrnn.benchmark.measure.implementations import Built, Implementation, check, step
from btrnn.benchmark.measure.reference import LARGEST_ERROR, Problem
from btrnn.benchmark.measure.roofline import Rates, measure_rates, roofline_seconds
from btrnn.benchmark.measure.timing import QUICK, Effort, best_and_median, time_interleaved, timer_of
from btrnn.benchmark.results.costs import MEMORY_LIMIT, Family, Phase
from btrnn.benchmark.results.records import SECTIONS, Record, RecordFile, note_machine, record, section_path
from btrnn.benchmark.results.settings import INPUT_SHAPES, PAPER, PRODUCT_SWEEPS, TIME_SWEEP, TINY, Point, Shape, visits
from btrnn.engine.memory import reuse_freed_memory, start_memory_anew

PRODUCT_PHASES: tuple[Phase, ...] = ("forward", "forward+backward")
LAYER_PHASES: tuple[Phase, ...] = (*PRODUCT_PHASES, "training step")
TIME_IS_UP = "left out: the time was over"
MEMORY_FACTORS = ("rank", "blocks", "order")
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
    )


@dataclass(frozen=True)
class Task:
    """A part of the benchmark that is done at a stretch.

    Attributes:
        section: Of which section.
        title: For the progress bar.
        weight: Its share of the time.
        measure: Returns its rows; is told when to end, in `perf_counter`'s seconds.
        skipped: Returns its rows where the time is over before it begins.
    """

    section: str
    title: str
    weight: float
    measure: Callable[[float], list[Record]]
    skipped: Callable[[], list[Record]]


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
    tasks = list(_tasks(options, device))
    files = {name: RecordFile(section_path(options.results_dir, name, options.device)) for name in options.sections}
    machine = describe_machine(device)
    for number, task in enumerate(tasks):
        progress(number, len(tasks), task.title)
        start_memory_anew()  # what the last part needed is given back
        now, weights = perf_counter(), sum(other.weight for other in tasks[number:])
        late = now >= end and task.section in ("layer_sweep", "sweep")
        rows = task.skipped() if late else task.measure(now + max(end - now, 0.0) * task.weight / weights)
        if not files[task.section].records:
            note_machine(options.results_dir, task.section, options.device, machine)
        files[task.section].add(rows)
    progress(len(tasks), len(tasks), "done")


def _tasks(options: Options, device: torch.device) -> Iterator[Task]:
    """Yield all parts, the most wanted first."""
    paper = [Point("paper", options.paper.in_features)]
    visit = Visitor(device, options.effort)
    gpu = device.type == "cuda"
    if "product" in options.sections:
        implementations = products.PRODUCTS + (products.GRAPHED_PRODUCTS if gpu else [])
        yield visit.task("product", options.paper, paper, implementations, weight=8.0)
        yield _roofline_task(options, device)
    if "layer" in options.sections:
        implementations = layers.LAYERS + (layers.GRAPHED_LAYERS if gpu else [])
        yield visit.task("layer", options.paper, paper, implementations, weight=8.0, layer=True)
    if "memory" in options.sections:
        yield from _memory_tasks(options)
    if "memory_sweep" in options.sections:
        of_trains = {factor: shapes for factor, shapes in options.memory_sweeps.items() if factor != "blocks"}
        for model, sweeps in ((layers.OURS_BT, options.memory_sweeps), (layers.OURS_TT, of_trains)):
            for shape, points in visits(sweeps):
                yield _memory_task(options, model, shape, points, section="memory_sweep")
    if "layer_sweep" in options.sections:
        peerless = [layers.TORCH, layers.DENSE, layers.OURS_BT, layers.PLAIN_BT, layers.OURS_TT, layers.PLAIN_TT]
        for shape, points in visits(options.time_sweep):
            yield visit.task("layer_sweep", shape, points, peerless, layer=True)
    if "sweep" in options.sections:
        for shape, points in visits(options.product_sweeps):
            yield visit.task("sweep", shape, points, products.SWEPT_PRODUCTS)


@dataclass(frozen=True)
class Visitor:
    """Measures all implementations at one shape."""

    device: torch.device
    effort: Effort

    def task(
        self,
        section: str,
        shape: Shape,
        points: list[Point],
        implementations: Sequence[Implementation],
        *,
        weight: float = 1.0,
        layer: bool = False,
    ) -> Task:
        """Make the task of a shape, which stands for some points."""
        phases = LAYER_PHASES if section == "layer" else PRODUCT_PHASES
        title = ", ".join(f"{point.factor} {point.value:,}" for point in points)

        def measure(end: float) -> list[Record]:
            cells = self.visit(Problem(shape, self.device, layer=layer), implementations, phases, end)
            return [
                record(section, point, name, phase, **numbers)
                for point in points
                for (name, phase), numbers in cells.items()
            ]

        def skipped() -> list[Record]:
            return [
                record(section, point, implementation.name, phase, note=TIME_IS_UP)
                for point in points
                for implementation in implementations
                for phase in phases
            ]

        return Task(section, f"{section}: {title}", weight, measure, skipped)

    def visit(
        self, problem: Problem, implementations: Sequence[Implementation], phases: Sequence[Phase], end: float
    ) -> dict[tuple[str, str], dict[str, object]]:
        """Check and time all implementations in all phases.

        Returns:
            The columns of a record, by implementation and phase, in the order of the implementations.
        """
        cells: dict[tuple[str, str], dict[str, object]] = {
            (implementation.name, phase): {} for implementation in implementations for phase in phases
        }
        built: dict[str, Built] = {}
        for implementation in implementations:
            for phase in phases:
                cell = cells[implementation.name, phase]
                cell |= self._prepare(problem, implementation, phase, built)
        problem.forget_answers()
        for number, phase in enumerate(phases):
            now = perf_counter()
            share = max(end - now, 0.0) / (len(phases) - number)
            calls = {
                name: step(made, problem, phase) for name, made in built.items() if "note" not in cells[name, phase]
            }
            for name, seconds in time_interleaved(calls, now + share, timer_of(self.device), self.effort).items():
                cells[name, phase] |= best_and_median(seconds)
        return cells

    def _prepare(
        self, problem: Problem, implementation: Implementation, phase: Phase, built: dict[str, Built]
    ) -> dict[str, object]:
        """Build an implementation if it is not built, and check it; returns the error, or a note why not to time it."""
        name, shape = implementation.name, problem.shape
        if not implementation.installed:
            return {"note": f"left out: {implementation.package} is not installed"}
        needed = implementation.bytes_needed(shape, phase != "forward")
        if needed > MEMORY_LIMIT:
            return {"note": f"left out: needs {needed / 1e9:.1f} GB"}
        try:
            if name not in built:
                built[name] = implementation.build(problem)
            error = check(built[name], problem, implementation.family, phase)
            seconds = timer_of(self.device)(step(built[name], problem, phase)) if implementation.package else 0.0
        except Exception as failure:
            if not implementation.package:  # a failure of our own code is not a result
                raise
            return {"note": f"failed: {type(failure).__name__}: {str(failure).splitlines()[0]}"}
        if error > LARGEST_ERROR:
            return {"max_error": error, "note": f"wrong: error {error:.1e}"}
        if seconds > self.effort.longest_seconds:
            return {"max_error": error, "note": f"left out: a call takes {seconds:.1f} s"}
        return {"max_error": error}


def _roofline_task(options: Options, device: torch.device) -> Task:
    """Make the task that measures the machine's rates and says what they allow."""
    point = Point("paper", options.paper.in_features)

    def measure(_: float) -> list[Record]:
        rates = measure_rates(device, options.effort, small=options.paper != PAPER)
        families: tuple[Family, ...] = ("BT", "TT")
        return [
            _roofline(options.paper, point, family, phase, rates) for family in families for phase in PRODUCT_PHASES
        ]

    return Task("product", "roofline", 0.2, measure, list)


def _roofline(shape: Shape, point: Point, family: Family, phase: Phase, rates: Rates) -> Record:
    best, middle = roofline_seconds(shape, family, phase, rates)
    note = f"{rates.flops / 1e9:.0f} GFLOP/s, {rates.bytes_read / 1e9:.1f} GB/s"
    return record(
        "product", point, f"roofline {family}", phase, best_ms=1000 * best, median_ms=1000 * middle, rounds=1, note=note
    )


def _memory_tasks(options: Options) -> Iterator[Task]:
    """Yield a task for each process: models at the paper's shape, with and without reuse, then over input sizes."""
    paper = options.paper
    for model in options.memory_models:
        yield _memory_task(options, model, paper, [Point("allocator", 1)])
        yield _memory_task(options, model, paper, [Point("allocator", 0)], reuse=False)
    for size, shape in options.memory_inputs.items():
        for model in (layers.DENSE, layers.OURS_BT, layers.OURS_TT):
            yield _memory_task(options, model, shape, [Point("input", size)])


def _memory_task(
    options: Options,
    model: Implementation,
    shape: Shape,
    points: list[Point],
    *,
    section: str = "memory",
    reuse: bool = True,
) -> Task:
    """Make the task of a process that trains a model at a shape, which stands for some points."""

    def measure(_: float) -> list[Record]:
        needed = model.bytes_needed(shape, True)
        if not model.installed:
            columns: dict[str, object] = {"note": f"left out: {model.package} is not installed"}
        elif needed > MEMORY_LIMIT:
            columns = {"note": f"left out: needs {needed / 1e9:.1f} GB"}
        else:
            steps = options.effort.least_rounds
            columns = memory.measure_apart(
                memory.Job(model.name, shape, reuse, steps, options.device, torch.get_num_threads())
            )
        if section == "memory_sweep":  # its few steps are no measure of time
            columns = {name: value for name, value in columns.items() if name in ("peak_mib", "note")}
        return [record(section, point, model.name, "training step", **columns) for point in points]

    title = ", ".join(f"{point.factor} {point.value:,}" for point in points)
    return Task(section, f"{section}: {model.name}, {title}", 0.3, measure, list)
