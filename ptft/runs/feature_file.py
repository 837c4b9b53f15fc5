"""Features as files: NumPy's .npz, or Parquet, as the name's ending says. Axes: N rows, D features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptft.core import Columns
from ptft.errors import ConfigError
from ptft.runs.table_file import check_parquet, of_one_type
from ptft.runtime.system import writing, written_whole

ENDINGS = (".npz", ".parquet")


def check_ending(path: Path, key: str) -> None:
    """Raises ConfigError, which begins with the key, where no features are written by such a name, or not here."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{key}: features are written by the name's ending: {', '.join(ENDINGS)}")
    if path.is_dir():
        raise ConfigError(f"{key}: is a folder; name a file")
    if path.suffix.lower() == ".parquet":
        check_parquet(key)


def write(path: Path, features: np.ndarray, columns: Columns, remedy: str) -> list[str]:
    """The names of columns that such a file has no place for: .npz has `path` and `features` alone.

    features: float32 [N, D]; a row of NaN has none. columns: `path`, what else is known of the rows, and where the
    features stand among them. Raises StorageError, which ends with the remedy.
    """
    with writing(path, remedy):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, remedy) as aside, aside.open("wb") as file:
        if path.suffix.lower() == ".npz":
            np.savez(file, path=np.array(columns["path"], dtype=str), features=features)
            return [name for name in columns if name not in ("path", "features")]
        import pyarrow
        from pyarrow import parquet

        vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
        others = {name: of_one_type(values) for name, values in columns.items() if name != "features"}
        parquet.write_table(pyarrow.table({**others, "features": vectors}), file)
    return []
