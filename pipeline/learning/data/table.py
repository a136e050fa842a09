"""A table of one row a sample, CSV or Parquet, by pyarrow (the extra `tables`); read in pieces, never whole.

dataset.toml names the columns: `label` (a number, or one of `class_names`), `group`, `features`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.data.description import FILE_NAME, Description
from pipeline.learning.data.faults import Faults
from pipeline.learning.data.sample_files import SampleFiles, file_hash

ENDINGS = (".csv", ".parquet")
_ROWS = 8192


def find_tables(folder: Path) -> list[Path]:
    """The tables that lie in a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith("."))


@dataclass(frozen=True, kw_only=True)
class Table(SampleFiles):
    """Names are row numbers, from 1."""

    path: Path
    features: Sequence[str]

    def stored(self, faults: Faults) -> Iterator[tuple[Path, NDArray[Any]]]:
        """float64[features] of every row; one that lacks a number is told and left out."""
        with faults.told(), _opened(self.path, self.features, faults) as rows:
            features = list(self.features)
            for batch, numbers in rows:
                features = [name for name in features if _holds_numbers(self.path, name, batch.column(name), faults)]
                columns = [_numbers(self.path, name, batch.column(name), numbers, faults) for name in features]
                for values in np.stack(columns, axis=1) if len(columns) == len(self.features) else ():
                    if np.isfinite(values).all():
                        yield self.path, values

    def content_hashes(self) -> Iterator[str]:
        """Of the one file."""
        yield file_hash(self.path)


def read_table(folder: Path, path: Path, description: Description, faults: Faults) -> Table:
    """Reads labels and groups. Told: columns that are missing, labels that are no classes, rows of nobody. Raises Misconfigured: no rows, no values."""
    present = _columns(path, faults)
    group = description.group or ("group" if "group" in present else None)
    kept = [description.label, *([group] if group else [])]
    features = description.features or [name for name in present if name not in kept]
    for name in (*kept, *features):
        if name not in present:
            faults.tell(
                f"{path} has no column {name!r}; it has {', '.join(present[:20])}; name them in {folder / FILE_NAME}: "
                'label = "..", group = "..", features = [..]'
            )
    features = [name for name in features if name in present]
    if not features:
        raise Misconfigured(f"{path} has no column of values beside its label; add some")
    labels: list[int] = []
    groups: list[str] = []
    with _opened(path, [name for name in kept if name in present] or features[:1], faults) as rows:
        for batch, numbers in rows:
            wanted = {name: batch.column(name).to_pylist() for name in kept if name in present}
            for place in range(batch.num_rows):
                label = wanted.get(description.label)
                labels.append(-1 if label is None else _label(path, label[place], numbers[place], description, faults))
                if group in wanted:
                    groups.append(_group(path, wanted[group][place], numbers[place], faults))
    if not labels:
        raise Misconfigured(f"{path} has no rows; add some")
    return Table(
        folder=folder,
        names=[str(row) for row in range(1, len(labels) + 1)],
        labels=np.array(labels, dtype=np.int64),
        groups=groups or None,
        labelled_by=path,
        path=path,
        features=features,
    )


def _columns(path: Path, faults: Faults) -> list[str]:
    with _opened(path, None, faults) as reader:
        names = list(reader.schema.names)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Misconfigured(f"{path} has two columns of one name: {', '.join(twice[:20])}; rename one of them")
    return names


class _opened:  # noqa: N801  # reads as the verb that it is
    """Batches of rows with some columns, and the rows' numbers from 1; pyarrow's errors become Misconfigured.

    Where every fault is wanted, a CSV's cells stay texts and rows of another length are told and left out: pyarrow guesses a column's
    type from the file's beginning and ends at the first cell that is of another.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None, faults: Faults) -> None:
        self._path, self._columns, self._faults = path, columns, faults
        #: Numbers of rows that were left out, ascending.
        self._left_out: list[int] = []

    def __enter__(self) -> "_opened":
        try:
            import pyarrow as pa
        except ImportError:
            raise Misconfigured(f"{self._path}: tables need pyarrow: pip install 'flfleet[tables]'") from None
        self._text = pa.string()
        self._errors = (pa.ArrowException, OSError, ValueError, KeyError)
        with self._mapped():
            self._open()
        return self

    def _open(self) -> None:
        if self._path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            self._source = parquet.ParquetFile(self._path)
            self.schema = self._source.schema_arrow
            self._rows = self._source.iter_batches(_ROWS, columns=self._columns)
            return
        from pyarrow import csv

        every = not self._faults.at_once
        self._source = csv.open_csv(
            self._path,
            read_options=csv.ReadOptions(use_threads=not every),  # with threads a row does not know its number
            parse_options=csv.ParseOptions(invalid_row_handler=self._of_another_length if every else None),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(self._columns or [], self._text) if every else None
            ),
        )
        self.schema = self._source.schema
        self._rows = self._source if self._columns is None else (batch.select(self._columns) for batch in self._source)

    def _of_another_length(self, row: Any) -> str:
        number = row.number - 1  # the head is row 1 of the file
        self._left_out.append(number)
        self._faults.tell(
            f"{self._path}: row {number} has {row.actual_columns} columns, expected {row.expected_columns}; mend it or leave it out"
        )
        return "skip"

    def __iter__(self) -> Iterator[tuple[Any, Sequence[int]]]:
        with self._mapped():
            first = 1
            for batch in self._rows:
                after = first + batch.num_rows + len(self._left_out)
                left_out = set(self._left_out)
                numbers = [number for number in range(first, after) if number not in left_out][: batch.num_rows]
                first = numbers[-1] + 1 if numbers else first
                yield batch, numbers

    def __exit__(self, *_exception: object) -> None:
        self._source.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise Misconfigured(
                f"{self._path} is no readable table: {str(error)[:300]}; mend it, or write it anew"
            ) from None


def _holds_numbers(path: Path, name: str, column: Any, faults: Faults) -> bool:
    """Tells a column that holds none. Of texts, as a check has them, one number is enough: the other rows are at fault then."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return True
    if not faults.at_once and pa.types.is_string(kind):
        texts = [text for text in column.to_pylist() if text]
        if not texts or not all(math.isnan(_number(text)) for text in texts):
            return True
    faults.tell(
        f"{path}: column {name!r} holds {kind}, expected numbers; leave it out of features in {FILE_NAME}, or code it as numbers"
    )
    return False


def _numbers(path: Path, name: str, column: Any, numbers: Sequence[int], faults: Faults) -> NDArray[np.float64]:
    """float64 of a column's rows; those without a number are told, and NaN."""
    import pyarrow as pa

    if pa.types.is_string(column.type):
        values = np.array([_number(text) for text in column.to_pylist()], dtype=np.float64)
    else:
        values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        faults.tell(
            f"{path}: row {numbers[place]} has no number in column {name!r}{_found(column[place].as_py())}; fill it in "
            "or leave the row out"
        )
    return values


def _found(value: Any) -> str:
    return f" but {value[:80]!r}" if isinstance(value, str) and value else ""


def _number(text: str | None) -> float:
    """A cell's value, NaN where it is none."""
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return float(text.lower() == "true")
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _label(path: Path, value: Any, row: int, description: Description, faults: Faults) -> int:
    """The class, -1 where there is none, which is told."""
    names = description.class_names or []
    if isinstance(value, str) and value in names:
        return names.index(value)
    if not faults.at_once and isinstance(value, str) and math.isfinite(_number(value)):
        value = _number(value)  # a check reads a CSV's cells as texts
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, int) and value >= 0:
        return value
    wanted = f"one of {', '.join(names)}" if names else "an integer from 0 on (or set class_names in dataset.toml)"
    faults.tell(f"{path}: row {row} has the label {value!r}, expected {wanted}; mend it or leave the row out")
    return -1


def _group(path: Path, value: Any, row: int, faults: Faults) -> str:
    if value is None or value == "":
        faults.tell(
            f"{path}: row {row} has no group; a sample of nobody could be held back and learnt from at once: fill it in or "
            "leave the row out"
        )
    return str(value)
