"""Features as files: NumPy's .npz, or Parquet, as the name's ending says. Axes: N rows, D features."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptft.core import Columns
from ptft.errors import ConfigError
from ptft.runs.table_file import check_parquet, of_one_type
from ptft.runtime.system import writing

ENDINGS = (".npz", ".parquet")


def check_ending(path: Path, key: str) -> None:
    """Raises ConfigError, which begins with the key, where no features are written by such a name, or not here."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{key}: features are written by the name's ending: {', '.join(ENDINGS)}")
    if path.is_dir():
        raise ConfigError(f"{key}: is a folder; name a file")
    if path.suffix.lower() == ".parquet":
        check_parquet(key)


def write(path: Path, names: Sequence[str], features: np.ndarray, passed: Columns, remedy: str) -> None:
    """Write aside and rename, so that the file is always whole.

    names: of the rows, `path` in the file. features: float32 [N, D]; a row of NaN has none. passed: what else is known
    of the rows, in Parquet only. Raises StorageError, which ends with the remedy.
    """
    aside = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    with writing(path, remedy):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                if path.suffix.lower() == ".npz":
                    np.savez(file, path=np.array(names, dtype=str), features=features)
                else:
                    import pyarrow
                    from pyarrow import parquet

                    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
                    others = {name: of_one_type(values) for name, values in passed.items()}
                    table = {"path": of_one_type(list(names)), **others, "features": vectors}
                    parquet.write_table(pyarrow.table(table), file)
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
