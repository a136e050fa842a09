"""A table of one row a sample, CSV or Parquet, by pyarrow (the extra `tables`); read in pieces, never whole.

dataset.toml names the columns: `label` (a number, or one of `class_names`), `group`, `features`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Misconfigured
from pipeline.learning.dataset_description import FILE_NAME, Description
from pipeline.learning.sample_files import SampleFiles, file_hash

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

    def stored(self) -> Iterator[tuple[Path, NDArray[Any]]]:
        """float64[features] of every row."""
        row = 0
        for batch in _batches(self.path, self.features):
            columns = [_numbers(self.path, name, batch.column(name), row) for name in self.features]
            for values in np.stack(columns, axis=1):
                yield self.path, values
            row += batch.num_rows

    def content_hashes(self) -> Iterator[str]:
        """Of the one file."""
        yield file_hash(self.path)


def read_table(folder: Path, path: Path, description: Description) -> Table:
    """Reads labels and groups. Raises Misconfigured: columns that are missing, labels that are no classes, no rows."""
    present = _columns(path)
    group = description.group or ("group" if "group" in present else None)
    kept = [description.label, *([group] if group else [])]
    features = description.features or [name for name in present if name not in kept]
    if missing := [name for name in (*kept, *features) if name not in present]:
        raise Misconfigured(
            f"{path} has no column {missing[0]!r}; it has {', '.join(present[:20])}; name them in {folder / FILE_NAME}: "
            'label = "..", group = "..", features = [..]'
        )
    if not features:
        raise Misconfigured(f"{path} has no column of values beside its label")
    labels: list[int] = []
    groups: list[str] = []
    for batch in _batches(path, kept):
        labels += [
            _label(path, value, len(labels) + row, description)
            for row, value in enumerate(batch.column(description.label).to_pylist(), 1)
        ]
        if group:
            groups += [
                _group(path, value, row) for row, value in enumerate(batch.column(group).to_pylist(), len(groups) + 1)
            ]
    if not labels:
        raise Misconfigured(f"{path} has no rows")
    return Table(
        folder=folder,
        names=[str(row) for row in range(1, len(labels) + 1)],
        labels=np.array(labels, dtype=np.int64),
        groups=groups if group else None,
        labelled_by=path,
        path=path,
        features=features,
    )


def _columns(path: Path) -> list[str]:
    with _opened(path) as reader:
        names = list(reader.schema.names)
    if len(set(names)) != len(names):
        raise Misconfigured(f"{path} has two columns of one name")
    return names


def _batches(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    with _opened(path, columns) as reader:
        yield from reader


class _opened:  # noqa: N801  # reads as the verb that it is
    """Batches of rows with some columns; pyarrow's errors become Misconfigured."""

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        self._path, self._columns = path, columns

    def __enter__(self) -> "_opened":
        try:
            import pyarrow as pa
        except ImportError:
            raise Misconfigured(f"{self._path}: tables need pyarrow: pip install 'flfleet[tables]'") from None
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

        self._source = csv.open_csv(self._path)
        self.schema = self._source.schema
        self._rows = self._source if self._columns is None else (batch.select(self._columns) for batch in self._source)

    def __iter__(self) -> Iterator[Any]:
        with self._mapped():
            yield from self._rows

    def __exit__(self, *_exception: object) -> None:
        self._source.close()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise Misconfigured(f"{self._path} is no readable table: {str(error)[:300]}") from None


def _numbers(path: Path, name: str, column: Any, row: int) -> NDArray[np.float64]:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise Misconfigured(
            f"{path}: column {name!r} holds {kind}, expected numbers; leave it out of features in {FILE_NAME}, or code it as numbers"
        )
    values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    if (wrong := np.flatnonzero(~np.isfinite(values))).size:
        raise Misconfigured(
            f"{path}: row {row + int(wrong[0]) + 1} has no number in column {name!r}; fill it in or leave the row out"
        )
    return values


def _label(path: Path, value: Any, row: int, description: Description) -> int:
    names = description.class_names or []
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    if isinstance(value, int) and value >= 0:
        return value
    wanted = f"one of {', '.join(names)}" if names else "an integer from 0 on (or set class_names in dataset.toml)"
    raise Misconfigured(f"{path}: row {row} has the label {value!r}, expected {wanted}")


def _group(path: Path, value: Any, row: int) -> str:
    if value is None or value == "":
        raise Misconfigured(
            f"{path}: row {row} has no group; a sample of nobody could be held back and learnt from at once"
        )
    return str(value)
