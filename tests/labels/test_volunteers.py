"""Classifications of Zooniverse: files of the layout of its exports, and what a retirement rule makes of them."""

import csv
import json

import pytest

from astroanomaly.cli.label_flags import meanings
from astroanomaly.errors import ConfigError, LabelError, UnreadableError
from astroanomaly.labels.volunteers import Answer, RetirementRule, count_votes, read_answers

COLUMNS = (
    "classification_id", "user_name", "user_id", "user_ip", "workflow_id", "workflow_name", "workflow_version",
    "created_at", "gold_standard", "expert", "metadata", "annotations", "subject_data", "subject_ids",
)  # fmt: skip
KNOWN = {"nominal": "nominal", "anomaly": "anomaly", "1": "anomaly"}
QUESTION = "Is there an arc?\n\nNOTE: **look** twice"


def row(number, user, subject, answer, *, task="T0", workflow="10", minute=None, annotations=None, name=None):
    """One row as Zooniverse writes it; only the JSON of a field is written by hand."""
    data = {"retired": None, "#object_id": name or f"obj-{subject}", "#ra": "1.0"}
    given = [{"task": task, "task_label": QUESTION, "value": answer}] if annotations is None else annotations
    anonymous = user.startswith("not-logged-in")
    moment = f"2024-02-23 16:{number if minute is None else minute:02}:42 UTC"
    return {
        "classification_id": str(543695319 + number), "user_name": user,
        "user_id": "" if anonymous else str(hash(user)), "user_ip": "b644753d0e3948f81dc2", "workflow_id": workflow,
        "workflow_name": "Arcs", "workflow_version": "16.55",
        "created_at": moment, "gold_standard": "", "expert": "",
        "metadata": json.dumps({"source": "api", "live_project": True, "started_at": "2024-02-23T16:16:35.085Z"}),
        "annotations": json.dumps(given), "subject_data": json.dumps({str(96588000 + subject): data}),
        "subject_ids": str(96588000 + subject),
    }  # fmt: skip


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def export(tmp_path):
    return lambda *rows: write(tmp_path / "classifications.csv", rows)


def votes(path, rule, words=None, **more):
    answers = read_answers(path, **more)
    objects = {answer.name: answer.name for answer in answers}
    return {one.object_id: one for one in count_votes(answers, rule, objects, words or {}, KNOWN)}


def test_rows_are_read_in_the_order_of_their_times(export):
    path = export(
        row(3, "ann", 1, "No"),
        row(1, "not-logged-in-b644", 1, "Yes"),
        row(2, "ben", 2, "![arc.png](https://panoptes-uploads.zooniverse.org/x.png =60x) Yes"),
        row(4, "carl", 2, None),
        row(5, "dora", 2, None, annotations=[{"task": "T1", "value": [{"x": 3.5, "tool": 0}]}]),
        row(6, "eve", 2, None, annotations=[{"task": "T9", "value": [{"task": "T0", "value": ["Yes"]}, {"task": "T1",
                                                                                                       "value": []}]}]),
    )  # fmt: skip
    answers = read_answers(path)
    assert [(one.name, one.text.rpartition(" ")[2]) for one in answers] == [
        ("obj-1", "Yes"), ("obj-2", "Yes"), ("obj-1", "No"), ("obj-2", "Yes"),
    ]  # fmt: skip
    assert answers[0].volunteer == "not-logged-in-b644"
    assert answers[0].time == "2024-02-23T16:01:42.000000+00:00"


def test_a_volunteer_counts_once_and_late_ones_do_not(export):
    people = [f"user {k}" for k in range(8)]
    rows = [row(k, who, 1, "Yes" if k < 3 else "No") for k, who in enumerate(people)]
    rows += [row(20, "user 0", 1, "No"), row(21, "user 0", 1, "No")]
    words = {"yes": "anomaly", "No": "nominal"}
    found = votes(export(*rows), RetirementRule(count=4), words)["obj-1"]
    assert (found.classifications, found.counted, found.label) == (8, 4, "anomaly")
    assert found.counts == {"anomaly": 3, "nominal": 1}
    assert found.time.startswith("2024-02-23T16:03:42")
    found = votes(export(*rows), RetirementRule(count=6), words)["obj-1"]
    assert (found.counted, found.label) == (6, "")  # three against three
    found = votes(export(*rows), RetirementRule(count=9), words)["obj-1"]
    assert (found.counted, found.label, found.counts) == (0, "", {"anomaly": 3, "nominal": 5})


def test_a_share_of_agreement_retires_early_and_is_needed_for_a_label():
    rule = RetirementRule(count=6, share=0.8, least=3)
    assert rule.apply(["y", "y"]) == (0, "")
    assert rule.apply(["y", "y", "y", "n"]) == (3, "y")
    assert rule.apply(["y", "n", "y", "y", "y", "n"]) == (5, "y")  # 4 of 5
    assert rule.apply(["y", "n", "y", "n", "y", "y", "y"]) == (6, "")
    assert rule.apply(["", "", "", "y"]) == (3, "")  # they agree that they cannot tell
    assert RetirementRule(share=1.0, least=2).apply(["y", "n", "n", "n"]) == (0, "")
    assert RetirementRule(count=3).apply(["y", "", "n"]) == (3, "")
    for wrong in ({}, {"count": 0}, {"share": 0.5}, {"share": 1.01}, {"count": 3, "share": 0.8, "least": 4}):
        with pytest.raises(ConfigError):
            RetirementRule(**wrong)


def test_answers_without_a_meaning_are_named_and_nothing_else_of_them(export):
    hostile = "\x1b[31mcan't tell\x07 <img src=x onerror=alert(1)>"
    path = export(row(1, "ann", 1, "Yes"), row(2, "ben", 1, hostile), row(3, "carl", 2, hostile + "y" * 500))
    with pytest.raises(LabelError, match=r"not said what these answers mean") as caught:
        votes(path, RetirementRule(count=1), {"Yes": "anomaly"})
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500
    with pytest.raises(LabelError, match="no label class"):
        votes(path, RetirementRule(count=1), {"Yes": "lens"})
    found = votes(export(row(1, "ann", 1, "Yes"), row(2, "ben", 1, hostile)), RetirementRule(count=2),
                  {"Yes": "anomaly", hostile: ""})  # fmt: skip
    assert found["obj-1"].words() == "1 no label, 1 anomaly"
    assert found["obj-1"].label == ""


def test_answers_of_pictures_only_are_told_apart(export):
    arc, ring = (f"![{name}](https://panoptes-uploads.zooniverse.org/{name}.png =60x)" for name in ("arc", "ring"))
    path = export(row(1, "ann", 1, arc), row(2, "ben", 2, ring), row(3, "carl", 3, f"{arc} None"))
    words = {arc: "anomaly", ring: "nominal", "none": ""}
    found = votes(path, RetirementRule(count=1), words)
    assert [found[f"obj-{k}"].label for k in (1, 2, 3)] == ["anomaly", "nominal", ""]
    with pytest.raises(LabelError, match="not said what these answers mean"):
        votes(path, RetirementRule(count=1), {arc: "anomaly", "none": ""})
    assert meanings([f"{arc}=anomaly", f"{ring}=nominal", "none="]) == words
    with pytest.raises(LabelError, match="is said to mean 'nominal' and 'anomaly'"):
        votes(export(row(1, "ann", 1, "Yes")), RetirementRule(count=1), {"Yes": "anomaly", "yes ": "nominal"})
    with pytest.raises(LabelError, match="is said to mean 'no label' and 'anomaly'"):
        votes(export(row(1, "ann", 1, "Yes")), RetirementRule(count=1), {"Yes": "anomaly", f"{arc} yes": ""})
    assert votes(export(row(1, "ann", 1, "Yes")), RetirementRule(count=1), {"Yes": "anomaly", "YES": "anomaly"})


def test_task_and_workflow_have_to_be_named_where_there_are_several(export):
    path = export(row(1, "ann", 1, "Yes"), row(2, "ben", 1, "No", task="T3"))
    with pytest.raises(LabelError, match=r"several questions: name the task \('T0': 'Is there an arc"):
        read_answers(path)
    assert [one.text for one in read_answers(path, task="T3")] == ["No"]
    both = [{"task": "T0", "task_label": QUESTION, "value": "Yes"}, {"task": "T3", "task_label": "What?", "value": "A"}]
    rows = [row(k, f"user {k}", 1, "", annotations=both) for k in (1, 2)]  # every volunteer has answered both
    with pytest.raises(LabelError, match=r"several questions: name the task \('T0': .*; 'T3': 'What\?'\)"):
        read_answers(export(*rows))
    assert [one.text for one in read_answers(export(*rows), task="T3")] == ["A", "A"]
    path = export(row(1, "ann", 1, "Yes"), row(2, "ben", 1, "No", task="T3"))
    with pytest.raises(LabelError, match="no answer in words to the task 'T7'"):
        read_answers(path, task="T7")
    path = export(row(1, "ann", 1, "Yes"), row(2, "ben", 1, "No", workflow="11"))
    with pytest.raises(LabelError, match="several workflows"):
        read_answers(path)
    assert [one.text for one in read_answers(path, workflow="11")] == ["No"]
    with pytest.raises(LabelError, match="no classification of workflow '12'"):
        read_answers(path, workflow="12")


def test_damaged_files_are_refused(export, tmp_path):
    good = row(1, "ann", 1, "Yes")
    for column, value, message in (
        ("annotations", "[{", "row 2: annotations is damaged"),
        ("annotations", "{}", "row 2: annotations"),
        ("annotations", "[" * 100_000, "row 2: annotations"),
        ("subject_data", "{}", "subject_data has none of"),
        ("subject_data", '{"1": {"#Colour": "red"}}', "subject_data has none of"),
        ("created_at", "yesterday", "created_at is 'yesterday'"),
        ("created_at", "0001-01-01 00:00:00+14:00", "created_at is '0001-01-01"),
        ("created_at", "9999-12-31 23:59:59-14:00", "created_at is '9999-12-31"),
    ):
        with pytest.raises(LabelError, match=message):
            read_answers(export(good | {column: value}))
    (tmp_path / "other.csv").write_text("object_id,label\na,b\n")
    with pytest.raises(LabelError, match="no column 'user_name'"):
        read_answers(tmp_path / "other.csv")
    text = export(good).read_text()
    (tmp_path / "cut.csv").write_text(text.rpartition(",")[0] + "\n")
    with pytest.raises(LabelError, match="row 2: it has more or fewer columns"):
        read_answers(tmp_path / "cut.csv")
    (tmp_path / "huge.csv").write_text(text + '"' + "x" * (17 * 2**20) + "\n")
    with pytest.raises(LabelError, match="is damaged: field larger than field limit"):
        read_answers(tmp_path / "huge.csv")
    assert csv.field_size_limit() == 131072  # as it was for everybody
    with pytest.raises(UnreadableError):
        read_answers(tmp_path / "none.csv")


def test_names_of_no_object_are_left_out():
    answers = [Answer("a", "ann", "2024", "anomaly"), Answer("b", "ann", "2024", "what?")]
    (found,) = count_votes(answers, RetirementRule(count=1), {"a": "object a"}, {}, KNOWN)
    assert (found.object_id, found.label) == ("object a", "anomaly")
