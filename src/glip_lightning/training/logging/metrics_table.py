"""The table of a run, ``logs/metrics.csv``: one row per call of Lightning's loggers."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from typing_extensions import override

from glip_lightning.common.files import replacing, write_bytes
from glip_lightning.weights.run_files import METRICS_NAME


class MetricsTable(Logger):
    """Writes ``folder/logs/metrics.csv``, and continues a table that is there.

    A row is on the disk when it is logged, so that a killed run loses none. For a new column the
    file is replaced whole. Lightning's CSVLogger deletes the table of a run that is resumed.
    """

    def __init__(self, folder: Path) -> None:
        """Write into the folder of a run; the first row makes the file."""
        super().__init__()
        self._folder = folder
        self._file = folder / METRICS_NAME
        self._continued = self._file.is_file()
        self._columns: list[str] | None = None  # of the file; None: not read yet

    @property
    @override
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    @override
    def name(self) -> str:
        return ""

    @property
    @override
    def version(self) -> str:
        return self._file.parent.name  # callbacks without a folder write to save_dir/name/version

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write nothing: the recipe of a run is a file of its own."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append a row at optimizer step ``step``: numbers, or tensors with one element.

        The columns are in alphabetical order.
        """
        row: dict[str, Any] = {"step": step or 0}
        for name, value in metrics.items():
            row[name] = value.item() if isinstance(value, Tensor) else value
        columns = self._read_columns()
        if not row.keys() <= set(columns):
            columns = sorted(row.keys() | set(columns))
            write_rows(self._file, columns, self._rows())
            self._columns = columns
        with self._file.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, fieldnames=columns).writerow(row)

    @rank_zero_only
    def forget_from(self, step: int) -> None:
        """Drop the rows from optimizer step ``step`` on, which a resumed run repeats."""
        if not self._continued:
            return
        columns = self._read_columns()
        if columns:
            kept = [row for row in self._rows() if int(row["step"]) < step]
            write_rows(self._file, columns, kept)
        self._continued = False

    def _read_columns(self) -> list[str]:
        """Return the columns of the file, without half a row that a killed run left at its end."""
        if self._columns is None:
            content = self._file.read_bytes() if self._file.is_file() else b""
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                write_bytes(self._file, whole)
            self._columns = next(csv.reader(whole.decode().splitlines()), [])
        return self._columns

    def _rows(self) -> list[dict[str, str]]:
        if not self._file.is_file():
            return []
        with self._file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a CSV file with a header, whole or not at all."""
    with replacing(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
