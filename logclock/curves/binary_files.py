"""How do Parquet and TensorBoard's event files become rows? Both readers are optional."""

from pathlib import Path
from typing import Any

from logclock.curves.roles import NAMES, role_of
from logclock.curves.sheet import Sheet

__all__ = ["event_sheet", "parquet_sheet"]

FLOAT32_DIGITS = 7
"""Of the values in event files; further digits are those of the nearest float32."""


def parquet_sheet(path: Path) -> Sheet:
    """Return the rows of a Parquet file.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: The file is no Parquet file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path}: Parquet needs pyarrow. Run: pip install 'logclock[hub]', or export the history as CSV."
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, ValueError) as error:
        raise ValueError(
            f"{path}: no Parquet file, or one that is damaged ({_first_line(error)}). Export it again."
        ) from None
    names = list(table.column_names)
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: two columns are called {max(names, key=names.count)!r}. Rename one of them.")
    columns = {name: table.column(name).to_pylist() for name in names if _is_plain(table.schema.field(name).type)}
    return Sheet(source=str(path), unit="row", columns=columns, rows=range(1, table.num_rows + 1))


def _is_plain(kind: Any) -> bool:
    """Return whether a column holds one number or text a row; media and histograms are of no use here."""
    import pyarrow.types as types

    return not (types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def event_sheet(directory: Path, paths: list[Path]) -> Sheet:
    """Return the scalars in the event files of one folder, a row an event, in the order in which they were opened.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
        ValueError: A file is damaged; one whose last event a crash cut off is read up to there, with a note.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_ndarray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{directory}: event files need TensorBoard. Run: pip install 'logclock[tensorboard]', or download the "
            "curves as CSV."
        ) from error
    rows: list[tuple[int, str, float]] = []
    notes: list[str] = []
    for path in paths:
        for number, content in enumerate(_events(path, notes), start=1):
            try:
                event = Event.FromString(content)
            except Exception as error:  # protobuf's own, which has no stable home
                raise ValueError(f"{path}, event {number}: damaged ({_first_line(error)}). Restore the file.") from None
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    rows.append((event.step, value.tag, float(f"{value.simple_value:.{FLOAT32_DIGITS}g}")))
                elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name in ("scalars", ""):
                    array = make_ndarray(value.tensor)
                    if array.size == 1 and array.dtype.kind in "fiu":
                        rows.append((event.step, value.tag, float(array.reshape(()))))
    if not rows:
        raise ValueError(f"{directory}: its event files hold no scalars. Give the folder of a run, or leave it out.")
    columns: dict[str, list[float | int | None]] = {"step": [step for step, _, _ in rows]}
    for tag in dict.fromkeys(tag for _, tag, _ in rows):
        # The step and the name of a run stand beside the scalars, never among them.
        name = f"scalar {tag}" if role_of(tag) in ("step", *NAMES) else tag
        columns[name] = [value if own == tag else None for _, own, value in rows]
    return Sheet(source=str(directory), unit="event", columns=columns, rows=range(1, len(rows) + 1), notes=tuple(notes))


def _events(path: Path, notes: list[str]) -> list[bytes]:
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

    found: list[bytes] = []
    reader = PyRecordReader_New(str(path))
    try:
        while True:
            reader.GetNext()
            found.append(reader.record())
    except errors.OutOfRangeError:
        pass
    except errors.DataLossError as error:
        if "runcated" not in str(error) or not found:
            raise ValueError(
                f"{path}, event {len(found) + 1}: damaged, or no event file ({_first_line(error)}). Restore the file, "
                "or leave it out."
            ) from None
        notes.append(f"{path.name} is cut off in event {len(found) + 1}; what came before counts.")
    finally:
        reader.file_handle.close()
    return found


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
