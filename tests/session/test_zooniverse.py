"""Zooniverse end to end: a subject set as its uploader reads it, and the classifications that come back."""

import csv
import io
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from PIL import Image

from astroanomaly.cli import main
from astroanomaly.errors import ConfigError, LabelError, StorageError
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.painting import bin_factor, bin_pixels, grey_map, rgb_of
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import ANOMALY, NOMINAL
from astroanomaly.session.outputs.subjects import _enlarged, _scale


def manifest(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def uploads(folder):
    """What ``panoptes subject-set upload-subjects --file-column 1`` takes: files below 1 MiB, metadata by column."""
    found = []
    with (folder / "manifest.csv").open() as file:
        reader = csv.reader(file, skipinitialspace=True)
        headers = [name.lstrip("%") for name in next(reader)]
        for row in reader:
            path = os.path.join(folder, row[0])
            assert os.path.isfile(path)
            assert 0 < os.path.getsize(path) <= 1024 * 1024
            found.append((path, dict(zip(headers, row, strict=True))))
    return found


def classify(path, subjects, answers):
    """Write an export in which volunteers answer on subjects that were uploaded."""
    columns = ("classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name",
               "workflow_version", "created_at", "gold_standard", "expert", "metadata", "annotations", "subject_data",
               "subject_ids")  # fmt: skip
    number = 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for subject, (metadata, given) in enumerate(zip(subjects, answers, strict=True), 70001):
            for who, answer in given.items():
                number += 1
                data = {str(subject): {"retired": None, **metadata}}
                told = [{"task": "T0", "task_label": "Is there an arc?", "value": answer}]
                time = f"2026-02-01 10:{number:02}:00 UTC"
                first = (number, who, "", "ab12", 10, "Arcs", "3.1", time, "", "", "{}")
                writer.writerow((*first, json.dumps(told), json.dumps(data), subject))
    return path


def test_a_subject_set_has_what_the_uploader_takes_and_tells_nothing(new_session, tmp_path, capsys):
    session = new_session(computed=True)
    session.train("cold")
    command = ["campaign", "export-zooniverse", str(session.path), "--out", str(tmp_path / "set"), "--top", "9"]
    assert main([*command, "--size", "200"]) == 0
    assert "upload-subjects --file-column 1" in capsys.readouterr().out
    subjects = uploads(tmp_path / "set")
    assert len(subjects) == 9
    ids = [metadata["#object_id"] for _, metadata in subjects]
    ranked = [str(i) for i in session.candidates(9)["object_id"]]
    assert sorted(ids) == sorted(ranked)
    assert ids != ranked  # not in the order of the ranking
    assert set(subjects[0][1]) == {"image", "#object_id", "#ra", "#dec", "#arcsec_per_pixel"}
    assert all(all(row.values()) for row in manifest(tmp_path / "set"))  # an empty cell would be taken for a folder
    scale = float(subjects[0][1]["#arcsec_per_pixel"])
    assert scale == pytest.approx(0.1 / 4, rel=1e-3)  # 48 pixels are enlarged four times
    pictures = session.cache.pictures
    for path, metadata in subjects:
        made = np.asarray(Image.open(path))
        assert made.shape == (192, 192, 3)
        painted = pictures.painter([metadata["#object_id"]], 200).paint(pictures.usual_display, grey_map)
        np.testing.assert_array_equal(made[2::4, 2::4], rgb_of(painted)[0])
    assert pictures.usual_display.orientation == "north"
    with pytest.raises(StorageError):
        session.write_subject_set(tmp_path / "set")
    assert session.write_subject_set(tmp_path / "set", ids=ids[:2], jpeg=True, overwrite=True) == 2
    with Image.open(tmp_path / "set" / "subject-000001.jpg") as picture:
        assert picture.format == "JPEG"
    with pytest.raises(ConfigError, match="expected 64 to 2048"):
        session.write_subject_set(tmp_path / "more", size=10)
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    assert buffer.tell() > 2**20  # so a picture of noise is refused, and not half of the folder is left
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(("height", "width"), [(48, 48), (513, 513), (513, 40), (700, 1300), (512, 512), (64, 2049)])
@pytest.mark.parametrize("size", [64, 512, 700, 2048])
def test_the_scale_of_a_picture_is_that_of_its_pixels_whatever_its_size(height, width, size):
    cache = SimpleNamespace(layout=SimpleNamespace(height=height, width=width))
    binned = bin_factor(height, width, size)
    pixels = bin_pixels(np.zeros((1, 1, height, width), np.float32), size)[0, 0]
    made = _enlarged(pixels, size)
    assert max(made.shape) <= size
    compass = Compass(0.2 * binned, (0.0, 1.0), (-1.0, 0.0))  # of the cutout as it was binned
    assert _scale(compass, cache, size) * made.shape[1] == pytest.approx(0.2 * binned * (width // binned or 1))


def test_what_volunteers_say_comes_back_as_one_vote(new_session, tmp_path, capsys):
    session = new_session()
    ids = list(session.cache.ids)[:5]
    session.write_subject_set(tmp_path / "set", ids=ids)
    subjects = [metadata for _, metadata in uploads(tmp_path / "set")]
    order = [metadata["#object_id"] for metadata in subjects]
    names = [f"volunteer {k}" for k in range(6)]
    answers = [
        dict(zip(names, ["Yes", "Yes", "Yes", "No", "Yes"], strict=False)),  # retired after four, three of them Yes
        dict(zip(names, ["No"] * 4, strict=False)),
        dict(zip(names, ["Yes", "No", "No", "Yes"], strict=False)),  # no agreement
        dict(zip(names, ["Yes"] * 3, strict=False)),  # not retired
        dict(zip(names, ["I can't tell"] * 4, strict=False)),
    ]
    path = classify(tmp_path / "c.csv", subjects, answers)
    session.label(order[0], NOMINAL, annotator="expert")
    words = ["--map", "Yes=anomaly,No=nominal", "--map", "I can't tell="]
    command = ["campaign", "import-zooniverse", str(session.path), str(path), "--retire", "4", *words]
    assert main([*command, "--out", str(tmp_path / "votes.csv")]) == 0
    said = capsys.readouterr().out
    assert (
        "5 objects classified, 4 of them retired after 4 classifications: 2 with a label, 2 without agreement" in said
    )
    assert "1 came after retirement" in said
    current = session.labels.current()
    assert current[order[0]].votes == {"expert": NOMINAL, "zooniverse": ANOMALY}
    assert current[order[0]].label == DISPUTED  # a crowd does not outvote an expert
    assert current[order[1]].votes == {"zooniverse": NOMINAL}
    assert order[3] not in current
    assert current[order[0]].notes == ("zooniverse: 3 anomaly, 1 nominal",)
    assert current[order[2]].notes == ("zooniverse: 2 anomaly, 2 nominal",)
    table = {row["object_id"]: row for row in Table.read(tmp_path / "votes.csv", format="ascii.csv")}
    row = table[order[3]]
    assert (str(row["retired"]), row["classifications"], row["counted"], row["n_anomaly"]) == ("False", 3, 0, 3)
    assert table[order[4]]["n_no_label"] == 4
    content = session.labels.path.read_bytes()
    assert b"volunteer" not in content  # no name of a stranger

    before = session.labels.last_event
    assert session.import_classifications(
        path, retire=4, words={"Yes": "anomaly", "No": "nominal", "I can't tell": ""}
    ).added == 0  # fmt: skip
    assert session.labels.last_event == before  # the same file again adds nothing
    answers[3] |= {names[4]: "No"}
    answers[1] = dict.fromkeys(names[:4], "Yes")
    classify(path, subjects, answers)
    assert main(command) == 0
    current = session.labels.current()
    assert current[order[1]].votes == {"zooniverse": ANOMALY}
    assert current[order[3]].votes == {"zooniverse": ANOMALY}  # three of four
    answers[1] = dict(zip(names, ["Yes", "No", "Yes", "No"], strict=False))
    classify(path, subjects, answers)
    assert main(command) == 0
    assert "zooniverse" not in session.labels.current()[order[1]].votes
    assert "1 earlier label taken back" in capsys.readouterr().out
    assert session.labels.current()[order[0]].votes["zooniverse"] == ANOMALY
    strict = [*command[:4], "--retire", "6", *words]  # another rule, by which no object is retired
    assert main(strict) == 0
    current = session.labels.current()
    assert not any("zooniverse" in one.votes for one in current.values())
    assert current[order[0]].votes == {"expert": NOMINAL}

    other = [metadata | {"#object_id": "nobody"} for metadata in subjects]
    classify(path, other, answers)
    before = session.labels.last_event
    with pytest.raises(LabelError, match="are unknown: 'nobody'"):
        session.import_classifications(path, retire=1, words={"Yes": "anomaly", "No": "nominal"})
    assert session.labels.last_event == before
    with pytest.raises(ConfigError, match="when is a subject retired"):
        session.import_classifications(path)
