"""Files of results: the same bytes each time, and a clear error for a bad one."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RUN_AGAIN = "delete the run's folder and run it again"


class ResultsError(Exception):
    """A file of results that cannot be used; the message names the file and what is wrong with it."""


def read_csv(path: Path, needed: list[str], remedy: str, texts: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a CSV file that must have some columns.

    Args:
        path: The file.
        needed: The columns.
        remedy: Ends the message where it cannot be read.
        texts: Columns whose values stay texts, also one that is empty or reads "nan" or "7".

    Raises:
        ResultsError: The file is missing, cannot be parsed or lacks a column.
    """
    try:
        table = pd.read_csv(path)
        kept = [column for column in texts if column in table]
        table[kept] = pd.read_csv(path, dtype=str, keep_default_na=False)[kept]
    except FileNotFoundError:
        raise ResultsError(f"{path} is missing; {remedy}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} is not a readable CSV ({error}); {remedy}") from None
    missing = [column for column in needed if column not in table]
    if missing:
        raise ResultsError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}")
    return table


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a file's lines, up to one that is none: its writer was stopped, or it is damaged."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            content = json.loads(line)
        except ValueError:  # of JSON's grammar or of UTF-8
            break
        if not isinstance(content, dict):
            break
        found.append(content)
    return found


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that must hold one object; `remedy` ends the message where it does not.

    Raises:
        ResultsError: It is damaged, or holds something else.
        FileNotFoundError: It is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON's grammar or of UTF-8
        raise ResultsError(f"{path} is not valid JSON ({error}); {remedy}") from None
    if not isinstance(content, dict):
        raise ResultsError(f"{path} holds a {type(content).__name__}; it must be one flat JSON object; {remedy}")
    return content


def table_arrays(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Turn a table of texts and numbers into arrays; texts are stored once, numbers in as few bytes as hold them.

    Whole numbers are int32, or int64 where one is too large; a column with fractions, or where one is missing (NaN), is
    float32, or float64 where float32 would round whole numbers.
    """
    arrays: dict[str, np.ndarray] = {}
    for column in table.columns:
        if pd.api.types.is_numeric_dtype(table[column]):
            known = table[column].dropna().to_numpy()
            whole = (known == np.floor(known)).all()
            kind: type[np.number[Any]]
            if whole and len(known) == len(table):
                kind = np.int32 if (np.abs(known) < 2**31).all() else np.int64
            else:
                kind = np.float64 if whole and (np.abs(known) > 2**24).any() else np.float32
            arrays[column] = table[column].to_numpy(dtype=kind)
        else:
            values, codes = np.unique(table[column].to_numpy(dtype=str), return_inverse=True)
            arrays |= {f"{column}/codes": codes.astype(np.int32), f"{column}/values": values}
    return arrays


def arrays_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """Pack arrays as an npz file; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            # by the name alone zipfile would stamp the time of day: equal arrays would not be equal bytes
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_pictures(path: Path, remedy: str) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file; `remedy` ends the message where it cannot be read.

    Raises:
        ResultsError: The file is missing or not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in sorted(arrays.files)}
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        raise ResultsError(f"{path} is not a readable npz file ({error}); {remedy}") from None


def read_arrays(path: Path) -> pd.DataFrame:
    """Read a table that `table_arrays` and `arrays_bytes` packed into an npz file; a missing number comes back as NaN.

    Raises:
        ResultsError: The file is not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = dict.fromkeys(name.split("/")[0] for name in arrays.files)
            table = pd.DataFrame(
                {
                    name: arrays[name] if name in arrays else arrays[f"{name}/values"][arrays[f"{name}/codes"]]
                    for name in columns
                }
            )
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        raise ResultsError(f"{path} is not a readable npz file ({error}); collect the runs again") from None
    if "predicted_last" in table:  # a missing class is -1 in files of older versions
        table["predicted_last"] = table["predicted_last"].where(table["predicted_last"] >= 0)
    return table
