"""The picture of the method that README shows."""

from pathlib import Path

from btrnn.figures.file import FigureFile
from btrnn.figures.method import block_term, block_term_data


def table_texts(_: Path) -> dict[Path, str]:
    """Return no page."""
    return {}


def figure_files(_: Path) -> list[FigureFile]:
    """Return the drawing of a block term."""
    return [FigureFile(Path("figures", "block_term.png"), block_term_data(), block_term)]
