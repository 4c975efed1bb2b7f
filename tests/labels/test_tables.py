"""Tables of labels: matched to objects by id or by position, all rows or none; written and read again."""

import json

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from astroanomaly import read_catalog
from astroanomaly.errors import CatalogError, ConfigError, LabelError, StorageError, UnreadableError
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.labels.export import export_labels
from astroanomaly.labels.foreign import folder_labels
from astroanomaly.labels.log import LabelLog
from astroanomaly.labels.matching import match_ids
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.tables import import_labels, read_truth
from astroanomaly.records import ANOMALY, NOMINAL
from astroanomaly.tables.column_names import ID_NAMES, LABELLED_ID_NAMES, SKY_NAMES

IDS = [f"field/obj-{i}.fits" for i in range(20)]
RA, DEC = np.linspace(10, 10.1, 20), np.linspace(-5, -4.9, 20)
SKY = SkyCoord(RA, DEC, unit="deg")


@pytest.fixture
def log(tmp_path):
    with LabelLog.create(tmp_path / "labels.sqlite", (NOMINAL, ANOMALY, "lens")) as made:
        yield made


def table(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def take(log, path, **extra):
    return import_labels(log, path, IDS, (RA, DEC), annotator="me", **extra)


def said(log):
    return {object_id: consensus.label for object_id, consensus in log.current().items()}


def test_labels_by_id_and_by_base_name(log, tmp_path):
    path = table(tmp_path, "filename,Class\nfield/obj-1.fits,Anomaly\nobj-2.fits,0\nobj-3.fits,LENS\n")
    assert take(log, path).added == 3
    assert said(log) == {IDS[1]: ANOMALY, IDS[2]: NOMINAL, IDS[3]: "lens"}


def test_labels_by_position_take_the_nearest_and_say_when_there_were_several(log, tmp_path):
    path = table(tmp_path, f"ra,dec,label\n{RA[4]},{DEC[4] + 0.5 / 3600},anomaly\n")
    assert take(log, path).messages == ()
    assert set(log.current()) == {IDS[4]}
    report = take(log, path, radius_arcsec=60.0)
    assert "objects within 60 arcsec" in report.messages[0]


@pytest.mark.parametrize("suffix", [".csv", ".fits"])
@pytest.mark.parametrize(("lon", "lat", "frame"), SKY_NAMES)
def test_every_position_column_that_a_catalogue_may_have_labels_objects(log, tmp_path, lon, lat, frame, suffix):
    there = SKY[[3, 7]].transform_to(frame).spherical
    path = tmp_path / f"labels{suffix}"
    columns = {"NUMBER": [1, 2], lon.upper(): there.lon.deg, lat: there.lat.deg, "label": [ANOMALY, "lens"]}
    Table(columns).write(path)
    assert take(log, path, radius_arcsec=0.1).added == 2
    assert said(log) == {IDS[3]: ANOMALY, IDS[7]: "lens"}
    catalog = read_catalog(path)
    assert SkyCoord(catalog.ra, catalog.dec, unit="deg").separation(SKY[[3, 7]]).arcsec.max() < 0.1


def test_positions_are_told_by_ucd_unit_or_kind_of_column_too(log, tmp_path):
    hdu = fits.table_to_hdu(Table({"lon": RA[:1], "lat": DEC[:1], "ra": [0.0], "dec": [0.0], "label": [ANOMALY]}))
    hdu.header["TUCD1"], hdu.header["TUCD2"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    hdu.writeto(tmp_path / "ucd.fits")
    QTable({"where": SKY.galactic[1:2], "label": [ANOMALY]}).write(tmp_path / "skycoord.ecsv")
    QTable({"p": [RA[2] / 15] * u.hourangle, "q": [DEC[2]] * u.deg, "label": [ANOMALY]}).write(tmp_path / "units.ecsv")
    words = SKY[3].to_string("hmsdms", precision=6).split()
    table(tmp_path, f"RA,DEC,label\n{words[0]},{words[1]},anomaly\n", "words.csv")
    for number, name in enumerate(("ucd.fits", "skycoord.ecsv", "units.ecsv", "words.csv")):
        assert take(log, tmp_path / name, radius_arcsec=0.1).added == 1
        assert set(log.current()) == set(IDS[: number + 1])


@pytest.mark.parametrize("name", LABELLED_ID_NAMES)
def test_a_table_with_ids_and_positions_is_matched_by_id(log, tmp_path, name):
    take(log, table(tmp_path, f"{name},ra,dec,label\n{IDS[1]},{RA[2]},{DEC[2]},anomaly\n"))
    assert set(log.current()) == {IDS[1]}


@pytest.mark.parametrize("name", sorted(set(ID_NAMES) - set(LABELLED_ID_NAMES)))
def test_ids_of_another_catalogue_do_not_stand_in_the_way_of_positions(log, tmp_path, name):
    rows = [f"7,{RA[2]},{DEC[2]},anomaly,{who}\n" for who in ("ann", "bob")]
    take(log, table(tmp_path, f"{name},ra,dec,label,annotator\n{''.join(rows)}"))
    assert log.current()[IDS[2]].votes == {"ann": ANOMALY, "bob": ANOMALY}


def test_of_several_tables_the_one_with_labels_is_taken(log, tmp_path):
    other, labels = Table({"ra": RA, "dec": DEC}), Table({"object_id": IDS[:2], "label": [ANOMALY, "lens"]})
    hdus = [fits.PrimaryHDU(np.zeros((3, 3))), fits.table_to_hdu(other), fits.table_to_hdu(labels)]
    fits.HDUList(hdus).writeto(tmp_path / "labels.fits")
    assert take(log, tmp_path / "labels.fits").added == 2
    assert said(log) == {IDS[0]: ANOMALY, IDS[1]: "lens"}
    assert read_truth(tmp_path / "labels.fits", "label", IDS, (RA, DEC)) == said(log)


def test_a_votable_of_labels_may_not_point_elsewhere(log, tmp_path):
    fields = "".join(f'<FIELD name="{name}" datatype="char" arraysize="*"/>' for name in ("object_id", "label"))
    stream = f'<STREAM encoding="base64" href="file://{tmp_path}/labels.sqlite"/>'
    text = f"<VOTABLE><RESOURCE><TABLE>{fields}<DATA><BINARY>{stream}</BINARY></DATA></TABLE></RESOURCE></VOTABLE>"
    with pytest.raises(UnreadableError, match="outside the file"):
        take(log, table(tmp_path, text, "labels.vot"))


def test_what_is_no_table_of_labels_is_refused(log, tmp_path):
    with pytest.raises(UnreadableError, match="does not exist"):
        take(log, tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"object_id,label\n\xe9,anomaly\n")
    with pytest.raises(UnreadableError, match="cannot be read as a table"):
        take(log, tmp_path / "latin.csv")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(CatalogError, match="holds no table"):
        take(log, tmp_path / "image.fits")
    Table({"ra": [1.0] * u.m, "dec": [1.0], "label": [ANOMALY]}).write(tmp_path / "metres.fits")
    with pytest.raises(CatalogError, match="expected an angle"):
        take(log, tmp_path / "metres.fits")
    with pytest.raises(LabelError, match="1 of 2 rows have no position"):
        take(log, table(tmp_path, "ra,dec,label\n1,2,anomaly\n,,anomaly\n"))
    assert log.last_event == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("object_id,label\nfield/obj-1.fits,anomaly\nfield/obj-2.fits,anomalie\n", "row 2: label is 'anomalie'"),
        ("object_id,label\nobj-1.fits,anomaly\nobj-99.fits,nominal\n", "1 of 2 labelled objects are unknown"),
        ("object_id,label\nobj-1.fits,anomaly\n#obj-2.fits,nominal\n", "'#obj-2.fits'"),
        ("object_id,label,time\nobj-1.fits,anomaly,59000.5\n", "row 1: time is '59000.5'"),
        ("object_id,label\nobj-1.fits,anomaly\nobj-1.fits,nominal\n", "says both 'anomaly' and 'nominal'"),
        ("object_id,colour\nobj-1.fits,red\n", "no column with labels"),
        ("number,label\n1,anomaly\n", "says of no object which it is"),
        ("object_id,label\nobj-1.fits\n", "line 2: 1 values for 2 columns"),
        ("ra,dec,label\n200,10,anomaly\n", r"1 of 1 labelled positions have no object within 1 arcsec: 200.000000"),
        ("", "is empty"),
    ],
)
def test_one_wrong_row_and_nothing_is_written(log, tmp_path, text, message):
    with pytest.raises((LabelError, CatalogError, UnreadableError), match=message):
        take(log, table(tmp_path, text))
    assert log.last_event == 0


def test_an_ambiguous_name_is_refused():
    with pytest.raises(LabelError, match=r"'x\.png' could be 'a/x\.png' or 'b/x\.png'"):
        match_ids(["x.png"], ["a/x.png", "b/x.png"])


def test_what_is_exported_can_be_imported_again(log, tmp_path):
    log.verdict(IDS[:2], ANOMALY, annotator="ann")
    log.verdict(IDS[1:3], NOMINAL, annotator="bob")
    log.note(IDS[:1], 'a "strange", one', annotator="ann")
    assert export_labels(log, tmp_path / "out.csv", IDS, (RA, DEC)) == 3
    header, first = (tmp_path / "out.csv").read_text().splitlines()[:2]
    assert header == "object_id,label,votes,annotators,decided_by,time,ra,dec,audit,note"
    assert first.startswith(f"{IDS[0]},anomaly,anomaly:1,ann,")
    assert read_truth(tmp_path / "out.csv", "label", IDS, (RA, DEC)) == {
        IDS[0]: ANOMALY,
        IDS[1]: DISPUTED,
        IDS[2]: NOMINAL,
    }
    with pytest.raises(StorageError, match="exists already"):
        export_labels(log, tmp_path / "out.csv", IDS, (RA, DEC))


def test_times_notes_and_annotators_come_with_a_table_and_one_undo_takes_back_ones_labels(log, tmp_path):
    path = table(
        tmp_path,
        "# made by hand\nobject_id,label,annotator,time,note\n"
        "obj-1.fits, anomaly ,ann,2026-01-31T12:00:00Z,ring?\nobj-2.fits,normal,bob,,\nobj-3.fits,1,ann,,\n",
    )
    assert take(log, path).added == 3
    assert log.history(IDS[1])[-1].time == "2026-01-31T12:00:00.000000+00:00"
    assert log.current()[IDS[1]].notes == ("ring?",)
    assert log.current()[IDS[2]].votes == {"bob": NOMINAL}
    assert log.undo(annotator="ann") is None  # an undo by hand leaves tables alone
    log.verdict(IDS[2], ANOMALY, annotator="ann")
    assert log.undo(annotator="ann") is not None
    assert log.undo(annotator="ann") is None
    assert said(log) == {IDS[1]: ANOMALY, IDS[2]: NOMINAL, IDS[3]: ANOMALY}
    log.undo(annotator="ann", imports=True)
    assert said(log) == {IDS[1]: "", IDS[2]: NOMINAL}


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".vot"])
def test_labels_come_in_any_table_format(log, tmp_path, suffix):
    path = tmp_path / f"labels{suffix}"
    made = Table({"object_id": [IDS[1], IDS[2]], "label": ["LENS", "nominal"]})
    made.write(path, format={".vot": "votable", ".ecsv": "ascii.ecsv", ".fits": "fits"}[suffix])
    assert take(log, path).added == 2
    assert said(log) == {IDS[1]: "lens", IDS[2]: NOMINAL}


def test_a_published_list_is_matched_by_position_and_its_names_are_kept(log, tmp_path):
    rows = f"Lens A,{RA[4]},{DEC[4]},anomaly,\nLens B,{RA[6]},{DEC[6]},lens,bright\nLens C,{RA[7]},{DEC[7]},,\n"
    report = take(log, table(tmp_path, f"name,ra,dec,label,note\n{rows}"))
    assert (report.added, report.skipped) == (2, 1)
    assert "matched by position" in report.messages[0]
    assert said(log) == {IDS[4]: ANOMALY, IDS[6]: "lens"}
    assert [log.current()[IDS[k]].notes for k in (4, 6)] == [("Lens A",), ("Lens B: bright",)]


@pytest.mark.parametrize("names", ["name,ra,dec", "ra,dec,flux", "object_id,x,y"])
def test_rows_that_match_nothing_are_left_out_and_counted_on_request(log, tmp_path, names):
    ours = {"name": "Lens A", "ra": RA[4], "dec": DEC[4], "flux": 1, "object_id": IDS[4], "x": 1, "y": 1}
    far = {**ours, "ra": 200.0, "dec": 80.0, "object_id": "elsewhere"}
    rows = "".join(",".join(str(one[name]) for name in names.split(",")) + ",anomaly\n" for one in (far, ours, far))
    path = table(tmp_path, f"{names},label\n{rows}")
    with pytest.raises(LabelError):
        take(log, path)
    assert log.last_event == 0
    report = take(log, path, skip_unmatched=True)
    assert (report.added, report.skipped) == (1, 2)
    assert "2 of 3 rows match no object" in report.messages[-1]
    assert said(log) == {IDS[4]: ANOMALY}


def test_columns_may_be_named(log, tmp_path):
    old = SKY[3].transform_to("fk4")
    path = table(tmp_path, f"object_id,a,d,grade,label\nobj-9.fits,{old.ra.deg},{old.dec.deg},lens,anomaly\n")
    take(log, path, label="grade", ra="a", dec="d", frame="fk4", radius_arcsec=0.1)
    assert said(log) == {IDS[3]: "lens"}
    with pytest.raises(CatalogError, match="no column 'grad'"):
        take(log, path, label="grad")
    with pytest.raises(CatalogError, match="both columns"):
        take(log, path, ra="a")


def test_names_match_without_suffix_with_backslashes_and_as_decimal_numbers():
    known = ["a/img_0.png", "b/img_1.png", "7"]
    given = ["img_0", "C:\\data\\img_1.png", "7.0"]
    assert match_ids(given, known) == dict(zip(given, known, strict=True))
    assert match_ids(["img_0", "img_2", "8.0"], known, skip=True) == {"img_0": "a/img_0.png"}
    with pytest.raises(LabelError, match="could be"):
        match_ids(["img_0"], ["a/img_0.png", "b/img_0.png"])


# --------------------------------------------------------------------------------------------- labels of other programs


def test_words_of_a_table_may_be_said_to_mean_labels(log, tmp_path):
    path = table(tmp_path, "object_id,label\nobj-1,Yes\nobj-2,no\nobj-3,unsure\nobj-4,anomaly\n")
    with pytest.raises(LabelError, match=r"'Yes'.*--map Yes="):
        take(log, path)
    with pytest.raises(LabelError, match="'weird', which is no label class"):
        take(log, path, words={"Yes": "weird"})
    assert not said(log)
    report = take(log, path, words={"yes": "anomaly", "no": "nominal", "unsure": ""})
    assert (report.added, report.skipped) == (3, 1)
    assert said(log) == {IDS[1]: ANOMALY, IDS[2]: NOMINAL, IDS[4]: ANOMALY}


def test_labels_of_astronomaly(log, tmp_path):
    path = table(tmp_path, ",score,human_label\nobj-1,0.1,-1\nobj-2,0.2,0\nobj-3,0.3,5\nobj-4,0.9,3.0\n")
    report = take(log, path)
    assert (report.added, report.skipped) == (3, 1)
    assert "3 to 5" in report.messages[0]
    assert said(log) == {IDS[2]: NOMINAL, IDS[3]: ANOMALY, IDS[4]: ANOMALY}


def test_labels_of_label_studio(log, tmp_path):
    path = table(
        tmp_path,
        "annotation_id,annotator,choice,created_at,id,image\n"
        "7,3,Anomaly,2026-01-01T10:00:00.123Z,1,/data/upload/2/0a1b2c3d-obj-5.fits\n"
        "8,3,,2026-01-01T10:00:00.123Z,2,/data/upload/2/1a1b2c3d-obj-6.fits\n",
    )
    assert take(log, path).added == 1
    assert said(log) == {IDS[5]: ANOMALY}


def test_tasks_of_label_studio_in_json(log, tmp_path):
    # as https://labelstud.io/guide/task_format shows them
    tasks = [
        {
            "id": 1,
            "data": {"image": "/data/upload/2/0a1b2c3d-obj-5.fits"},
            "annotations": [
                {
                    "completed_by": {"id": 3, "email": "ann@example.org"},
                    "was_cancelled": False,
                    "created_at": "2026-01-01T10:00:00.123456Z",
                    "result": [
                        {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["core"]}},
                        {"type": "choices", "from_name": "kind", "value": {"choices": ["Anomaly"]}},
                    ],
                },
                {"completed_by": 4, "result": [{"type": "choices", "value": {"choices": ["Nominal"]}}]},
                {"completed_by": 5, "was_cancelled": True, "result": [{"value": {"choices": ["Nominal"]}}]},
            ],
        },
        {"id": 2, "data": {"image": "obj-6.fits"}, "annotations": [{"completed_by": 3, "result": []}]},
        {"id": 3, "data": {"image": "obj-7.fits"}, "annotations": []},
    ]
    report = take(log, table(tmp_path, json.dumps(tasks), "project-1.json"))
    assert (report.added, report.skipped) == (2, 1)
    assert log.current()[IDS[5]].votes == {"ann@example.org": ANOMALY, "4": NOMINAL}
    least = [{"id": 1, "image": "/data/upload/2/0a1b2c3d-obj-8.fits", "choice": "lens", "annotator": 3}]
    assert take(log, table(tmp_path, json.dumps(least, indent=1), "min.json")).added == 1
    assert said(log)[IDS[8]] == "lens"


@pytest.mark.parametrize("text", ['[{"id": 1}, 2]', '[{"data": 7}]', '[{"data": {"image": "obj-1.fits"}', "[]"])
def test_json_without_tasks_says_what_is_expected(log, tmp_path, text):
    if text == "[]":
        assert take(log, table(tmp_path, text, "none.json")).added == 0
        return
    with pytest.raises(LabelError, match=r"[Nn]o label was written"):
        take(log, table(tmp_path, text, "bad.json"))
    assert not log.current()


def test_the_truth_is_found_by_position_in_the_frame_it_is_said_to_have(tmp_path):
    old = SKY[:3].transform_to("fk4")
    rows = "".join(
        f"lens {k},{float(c.ra.hour)!r},{float(c.dec.deg)!r},{'Yes' if k else 'No'}\n" for k, c in enumerate(old)
    )
    path = table(tmp_path, f"name,a,d,kind\n{rows}far,1,80,Yes\n")
    options = {"ra": "a", "dec": "d", "frame": "fk4", "unit": "hour", "words": {"Yes": "lens", "No": ""}}
    found = read_truth(path, "kind", IDS, (RA, DEC), LabelOptions.of({**options, "skip_unmatched": True}))
    assert found == {IDS[1]: "lens", IDS[2]: "lens"}
    with pytest.raises(LabelError, match="--skip-unmatched"):
        read_truth(path, "kind", IDS, (RA, DEC), LabelOptions.of(options))
    with pytest.raises(ConfigError, match="did you mean 'frame'"):
        LabelOptions.of({"fram": "fk4"})


def test_classifications_of_zooniverse(log, tmp_path):
    rows = QTable(
        {
            "classification_id": [1, 2, 3],
            "user_name": ["ann", "bob", "ann"],
            "created_at": ["2026-01-01 10:00:00 UTC"] * 3,
            "annotations": [
                '[{"task": "T0", "value": "Yes"}]',
                '[{"task": "T1", "value": [{"x": 1}]}, {"task": "T0", "value": ["No"]}]',
                '[{"task": "T0", "value": null}]',
            ],
            "subject_data": [json.dumps({"77": {"retired": None, "#Filename": f"obj-{k}.fits"}}) for k in (1, 1, 2)],
        }
    )
    rows.write(tmp_path / "z.csv")
    report = take(log, tmp_path / "z.csv", words={"Yes": "anomaly", "No": "nominal"})
    assert (report.added, report.skipped) == (2, 1)
    assert log.current()[IDS[1]].votes == {"ann": ANOMALY, "bob": NOMINAL}
    rows["subject_data"][0] = "{"
    rows.write(tmp_path / "bad.csv")
    with pytest.raises(LabelError, match=r"row 1: subject_data is damaged, no JSON"):
        take(log, tmp_path / "bad.csv")


def test_names_match_with_another_suffix_and_in_either_form_of_accents():
    known = ["stamps/a.fits.gz", "b", "2.5", "Galaxie_\u00e9", "v1.fits", "v1.png"]
    given = ["a.jpg", "x/b.png", "Galaxie_e\u0301", " Galaxie_e\u0301.png", "a.fits"]
    found = match_ids(given, known)
    assert [found[name] for name in given] == [
        "stamps/a.fits.gz",
        "b",
        "Galaxie_\u00e9",
        "Galaxie_\u00e9",
        "stamps/a.fits.gz",
    ]
    assert match_ids(["2.7", "2", "b.5", "b.host", "Galaxie_e"], known, skip=True) == {
        "2": "2.5"
    }  # these are no suffixes
    with pytest.raises(LabelError, match="could be"):
        match_ids(["v1.jpg"], known)


def test_an_address_means_the_file_that_it_ends_in():
    known = ["NGC 1.png", "M+3.png", "s3/x.png"]
    given = ["https://x.org/im/NGC%201.png?size=9", "http://x.org/M%2B3.png", "s3://bucket/deep/x.png"]
    assert list(match_ids(given, known).values()) == known


def test_what_file_managers_leave_in_folders_is_no_label(tmp_path):
    for name in ("anomaly/a.jpg", "anomaly/Thumbs.db", "anomaly/._a.jpg", "nominal/desktop.ini", "nominal/b.jpg"):
        (tmp_path / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / name).write_bytes(b"x")
    table = folder_labels(tmp_path / "classes")
    assert sorted(table["filename"]) == ["anomaly/a.jpg", "nominal/b.jpg"]


def test_folders_that_are_classes(log, tmp_path):
    for name in ("anomaly/obj-1.fits", "lens/deep/obj-2.fits", "deep/lens/obj-3.fits", "top.txt", "lens/.hidden"):
        path = tmp_path / "classes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(LabelError, match="'deep'"):
        take(log, tmp_path / "classes")
    assert take(log, tmp_path / "classes", words={"deep": ""}).added == 2
    assert said(log) == {IDS[1]: ANOMALY, IDS[3]: "lens"}
    with pytest.raises(LabelError, match="one folder for each class"):
        take(log, tmp_path / "classes/anomaly")


def test_positions_of_labels_may_have_another_unit(log, tmp_path):
    path = table(tmp_path, f"ra,dec,label\n{float(RA[4]) / 15},{float(DEC[4])},anomaly\n")
    assert take(log, path, unit="hour").added == 1
    assert set(log.current()) == {IDS[4]}


def test_the_folders_of_a_name_decide_between_objects_with_one_base_name():
    known = ["a/1.png", "b/1.png", "2.png"]
    assert match_ids(["C:\\data\\b\\1.png", "/home/me/2.png", "x/2"], known) == {
        "C:\\data\\b\\1.png": "b/1.png",
        "/home/me/2.png": "2.png",
        "x/2": "2.png",
    }
    with pytest.raises(LabelError, match="could be"):
        match_ids(["1.png"], known)
