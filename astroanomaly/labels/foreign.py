"""Labels as other programs write them, as one row per label: Zooniverse, Label Studio, folders that are classes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import LabelError
from astroanomaly.files import parse_json
from astroanomaly.tables.column_names import LABELLED_ID_NAMES
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["SCORES", "folder_labels", "is_json", "one_row_per_label", "subject_name", "task_labels"]

# Astronomaly's human_label: -1 is not labelled, 0 to 5 say how interesting an object is
SCORES = {"-1": "", "0": "nominal", "1": "nominal", "2": "nominal", "3": "anomaly", "4": "anomaly", "5": "anomaly"}
_OF_FILE_MANAGERS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_ZOONIVERSE = ("annotations", "subject_data")
_NAME_KEYS = (*LABELLED_ID_NAMES, "image_name", "image1", "filename1", "title")  # in the data of a subject
_MOST_FILES = 10_000_000
_MAX_JSON_BYTES = 512 * 2**20
# in the data of a task of Label Studio, whose own number is its id
_IMAGE_KEYS = ("image", "img", "url", "picture", "photo", *(name for name in _NAME_KEYS if name != "id"))
_REMEDY = "give the table of classifications as Zooniverse exports it; no label was written"
_TASKS_REMEDY = "give what Label Studio exports as JSON, JSON-MIN or CSV; no label was written"


def one_row_per_label(table: Table, where: str) -> Table:
    """Return a table of labels with the usual columns; one that has these is left as it is.

    The classifications of Zooniverse (``annotations`` and ``subject_data`` as JSON) become ``object_id``, ``label``,
    ``annotator`` and ``time``; the label is the answer to the first task that has one in words.

    Raises
    ------
    LabelError
        If a row does not hold what Zooniverse writes.
    """
    if not set(_ZOONIVERSE) <= set(table.colnames):
        return table
    from astropy.table import Table

    names, labels = [], []
    texts = [column_texts(table[name]) for name in _ZOONIVERSE]
    for number, (answers, subject) in enumerate(zip(*texts, strict=True), 1):
        row = f"{where}, row {number}"
        labels.append(_answer(parse_json(answers, f"{row}: annotations", kind=list, error=LabelError, remedy=_REMEDY)))
        data = parse_json(subject, f"{row}: subject_data", kind=dict, error=LabelError, remedy=_REMEDY)
        names.append(subject_name(data, row))
    found = {"object_id": names, "label": labels}
    if "user_name" in table.colnames:
        found["annotator"] = column_texts(table["user_name"])
    if "created_at" in table.colnames:
        found["time"] = [text.replace(" UTC", "+00:00") for text in column_texts(table["created_at"])]
    return Table({name: np.array(values, dtype=str) for name, values in found.items()})


def is_json(path: Path) -> bool:
    """Whether a file begins as a list in JSON does."""
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"[{", b"[ ", b"[\n", b"[\r", b"[]"))


def task_labels(path: Path) -> Table:
    """Return one row for each annotation of tasks as Label Studio exports them, as JSON or JSON-MIN.

    A task is named by its ``image``, or what else is a usual name in its data; the label is the first choice of an
    annotation. One that was cancelled, or has no choice, has no label.

    Raises
    ------
    LabelError
        If the file holds no such tasks.
    """
    from astropy.table import Table

    if path.stat().st_size > _MAX_JSON_BYTES:
        raise LabelError(f"{path} has more than {_MAX_JSON_BYTES} bytes: export it as CSV")
    tasks = parse_json(
        path.read_bytes().removeprefix(b"\xef\xbb\xbf"), str(path), kind=list, error=LabelError, remedy=_TASKS_REMEDY
    )
    columns: dict[str, list[str]] = {name: [] for name in ("object_id", "label", "annotator", "time")}
    for number, task in enumerate(tasks, 1):
        where = f"{path}, task {number}"
        if not isinstance(task, Mapping):
            raise LabelError(f"{where}: expected an object, found {type(task).__name__}; {_TASKS_REMEDY}")
        data = task.get("data", task)
        name = subject_name({"": data} if isinstance(data, Mapping) else {}, where, _IMAGE_KEYS, "its data")
        for answer in _annotations(task):
            for column, value in zip(columns.values(), (name, *answer), strict=True):
                column.append(value)
    return Table({name: np.array(values, dtype=str) for name, values in columns.items()})


def folder_labels(folder: Path) -> Table:
    """Return one row for each file in the folders of a folder, each of which is a class: ``filename`` and ``label``.

    Raises
    ------
    LabelError
        If no folder in it holds a file.
    """
    from astropy.table import Table

    files: list[str] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(root).relative_to(folder).as_posix()
        if inside != ".":
            files += [
                f"{inside}/{name}"
                for name in sorted(names)
                if not name.startswith(".") and name.lower() not in _OF_FILE_MANAGERS
            ]
        if len(files) > _MOST_FILES:
            raise LabelError(f"{folder} holds more than {_MOST_FILES} files: write their labels into a table")
    if not files:
        raise LabelError(
            f"{folder} holds no folder with files: expected one folder for each class, as in "
            f"{folder}/anomaly/img_0.png, or the path of a table"
        )
    return Table({"filename": files, "label": [name.rpartition("/")[0].rpartition("/")[2] for name in files]})


def _annotations(task: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return label, annotator and time of every annotation of a task."""
    if "annotations" not in task and "completions" not in task:  # JSON-MIN: the answer stands in the task
        label = next((task[key] for key in ("choice", "label", "class", "choices") if key in task), "")
        return [(_word(label), _word(task.get("annotator")), _iso(task.get("updated_at")))]
    answers = task.get("annotations", task.get("completions"))
    found = []
    for answer in answers if isinstance(answers, list) else []:
        if not isinstance(answer, Mapping) or answer.get("was_cancelled") is True:
            continue
        results = answer.get("result")
        values = [one.get("value") for one in results if isinstance(one, Mapping)] if isinstance(results, list) else []
        choices = [one["choices"] for one in values if isinstance(one, Mapping) and "choices" in one]
        who = answer.get("completed_by")
        who = who.get("email", who.get("id")) if isinstance(who, Mapping) else who
        found.append((_word(choices[0]) if choices else "", _word(who), _iso(answer.get("created_at"))))
    return found


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("choices")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value).strip() if isinstance(value, str | int) else ""


def _iso(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _answer(answers: Sequence[Any]) -> str:
    for one in answers:
        value = one.get("value") if isinstance(one, Mapping) else None
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            return value[0].strip()
    return ""


def subject_name(
    subject: Mapping[str, Any], where: str, names: Sequence[str] = _NAME_KEYS, what: str = "subject_data"
) -> str:
    """Return what the data of a subject call the file, by the usual names."""
    data = next((one for one in subject.values() if isinstance(one, Mapping)), {})
    known = {str(key).strip("#!/ ").lower().replace(" ", "_"): value for key, value in data.items()}
    found = next((known[name] for name in names if isinstance(known.get(name), str | int)), None)
    if found is None:
        raise LabelError(
            f"{where}: {what} has none of {', '.join(names)}; it has "
            f"{', '.join(map(str, data)) or 'nothing'}. No label was written"
        )
    return str(found)
