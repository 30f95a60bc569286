"""The benchmark's figures as files: time against each factor, and memory against the input size."""

from functools import partial
from pathlib import Path

from btrnn.benchmark.results.records import device_suffix
from btrnn.benchmark.results.report import FACTORS, read_all, rows_of
from btrnn.benchmark.results.settings import SWEEPS
from btrnn.figures import benchmark as figures
from btrnn.figures.file import FigureFile


def figure_files(results_dir: Path, device: str) -> list[FigureFile]:
    """Return the figures of a device: time against each factor, and memory against the input size."""
    sections, suffix = read_all(results_dir, device), device_suffix(device)
    folder = Path("figures")
    files = []
    for factor in SWEEPS:
        rows = rows_of(sections, factor)
        if rows.empty or rows["median_ms"].isna().all():
            continue
        title = f"{'The layer' if factor == 'time' else 'The product'}: time against {FACTORS[factor]} ({device})"
        shown = rows[["value", "implementation", "phase", "median_ms"]]
        path = folder / f"benchmark_{factor}{suffix}.png"
        files.append(FigureFile(path, shown, partial(figures.time_against, rows, factor, title)))
    memory = sections.get("memory")
    if memory is not None and memory.loc[memory["factor"] == "input", "peak_mib"].notna().any():
        shown = memory.loc[memory["factor"] == "input", ["value", "implementation", "peak_mib"]]
        title = f"Memory of training against the input size ({device})"
        path = folder / f"benchmark_memory{suffix}.png"
        files.append(FigureFile(path, shown, partial(figures.memory_against_input, memory, title)))
    return files
