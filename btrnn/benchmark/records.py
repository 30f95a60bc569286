"""The benchmark's numbers: a row for each setting, implementation and phase, in one CSV file a section. No torch."""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from btrnn.benchmark.settings import Point
from btrnn.storage.atomic import replace_file
from btrnn.storage.files import read_csv

SECTIONS = ("product", "layer", "memory", "device_sweep", "memory_sweep", "layer_sweep", "sweep")
REMEDY = "run `make bench`"
FORMATS_FILE = "formats.csv"  # of `make formats`, a row for each format of the input map


@dataclass(frozen=True)
class Record:
    """One row of a CSV file.

    Attributes:
        section: One of `SECTIONS`.
        factor: What is varied: "paper" (nothing), "batch", "order", "rank", "blocks", "time", "input", "allocator".
        value: Its value.
        implementation: What was measured.
        phase: "forward", "forward+backward" or "training step".
        best_ms, median_ms: Milliseconds a call, over all rounds.
        rounds: How many calls were timed.
        max_error: The largest error against the float64 reference, relative to the reference's largest number: of the
            result where the phase is "forward", of all gradients else.
        peak_mib: Growth of the process's peak memory.
        note: Why there are no numbers, or how they were made.
    """

    section: str
    factor: str
    value: int
    implementation: str
    phase: str
    best_ms: float = nan
    median_ms: float = nan
    rounds: int = 0
    max_error: float = nan
    peak_mib: float = nan
    note: str = ""


COLUMNS = [field.name for field in fields(Record)]


def record(section: str, point: Point, implementation: str, phase: str, **numbers: Any) -> Record:
    """Make a row at a point of a sweep."""
    return Record(section, point.factor, point.value, implementation, phase, **numbers)


def section_path(results_dir: Path, section: str, device: str = "cpu") -> Path:
    """Return the path of a section's CSV file; a GPU has files of its own."""
    return results_dir / f"benchmark_{section}{device_suffix(device)}.csv"


def device_suffix(device: str) -> str:
    """Return what stands in a file's name for the device: nothing for the CPU."""
    return "" if device == "cpu" else f"_{device}"


class RecordFile:
    """A section's CSV file, written whole after each addition, so that a stop loses nothing that was measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []

    def add(self, records: Iterable[Record]) -> None:
        """Append rows and write the file."""
        self.records += records
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in asdict(row).items()} for row in self.records)
        replace_file(self.path, buffer.getvalue())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if isnan(value) else f"{value:.6g}"
    return value


def read_section(results_dir: Path, section: str, device: str = "cpu") -> pd.DataFrame:
    """Read a section's rows.

    Raises:
        ResultsError: The file is missing or lacks a column.
    """
    table = read_csv(section_path(results_dir, section, device), COLUMNS, REMEDY)
    return table.assign(note=table["note"].astype("object").fillna(""))  # a column of no notes reads as numbers


def measured_sections(results_dir: Path, device: str = "cpu") -> list[str]:
    """List the sections that have a CSV file."""
    return [section for section in SECTIONS if section_path(results_dir, section, device).exists()]


def publish_sections(own: Path, results_dir: Path) -> list[Path]:
    """Copy the sections of a folder, and what they were measured on, into another; returns the files written."""
    written = []
    for device in ("cpu", "cuda"):
        for section in measured_sections(own, device):
            path = section_path(results_dir, section, device)
            replace_file(path, section_path(own, section, device).read_bytes())
            note_machine(results_dir, section, device, read_machines(own)[path.stem])
            written.append(path)
    return written


def machine_path(results_dir: Path) -> Path:
    """Return the path of the description of the machines."""
    return results_dir / "benchmark_machine.json"


def read_machines(results_dir: Path) -> dict[str, dict[str, Any]]:
    """Return for each section, by its file's name, what it was measured on; nothing where nothing was measured."""
    path = machine_path(results_dir)
    machines: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return machines


def note_machine(results_dir: Path, section: str, device: str, machine: dict[str, Any]) -> None:
    """Write what a section is measured on, beside what is noted of the others."""
    machines = read_machines(results_dir) | {section_path(results_dir, section, device).stem: machine}
    replace_file(machine_path(results_dir), json.dumps(machines, indent=2, sort_keys=True) + "\n")
