"""A campaign on the command line, from the division of objects to decisions made in a table."""

import csv

import numpy as np
from astropy.table import Table

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.records import ANOMALY, NOMINAL


def run(capsys, *words, check=0):
    capsys.readouterr()
    assert main([str(word) for word in words]) == check
    said = capsys.readouterr()
    return said.out if check == 0 else said.err


def test_five_people_grade_disagree_and_decide(new_session, tmp_path, capsys):
    session = new_session(computed=True)
    session.train("cold")
    people = ["ann", "ben", "carl", "dora", "eve"]
    named = [word for name in people for word in ("--annotator", name)]
    said = run(capsys, "campaign", "status", session.path, check=2)
    assert "campaign assign" in said
    said = run(capsys, "campaign", "assign", session.path, *named, "--shared", 30, "--top", 60)
    assert "60 objects (the 60 highest scores of round 1 (cold) without a label)" in said
    assert "eve: 36 objects" in said
    lists = session.campaign.lists
    top = {str(object_id) for object_id in session.candidates(60)["object_id"]}
    assert set().union(*lists.values()) == top
    said = run(capsys, "campaign", "assign", session.path, "--annotator", "ann", "--top", 5, check=2)
    assert "--replace" in said

    rng = np.random.default_rng(0)
    truth = {object_id: rng.random() < 0.3 for object_id in sorted(top)}
    for name in people:
        own = [object_id for object_id in lists[name] if name != "eve" or object_id in lists[name][:20]]
        words = [ANOMALY if truth[i] ^ (rng.random() < 0.1) else NOMINAL for i in own]
        session.label(own, words, annotator=name)
    said = run(capsys, "campaign", "status", session.path)
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines()[2:]}
    assert rows["ann"] == ["36", "36", "0", "0", "0"]
    assert rows["eve"][:4] == ["36", "20", "0", "16"]

    found = session.agreement()
    assert found.people == tuple(people)
    assert found.objects == 30
    assert 0 < found.kappa.low < found.kappa.value < found.kappa.high < 1
    said = run(capsys, "campaign", "agreement", session.path, "--out", tmp_path / "open.csv")
    assert "30 shared objects with verdicts of several people" in said
    assert f"kappa of all 5 (Fleiss), on {found.by_all} objects: {found.kappa}" in said
    assert f"{found.objects - found.alike} not, 0 of which are decided" in said
    rows = list(csv.DictReader((tmp_path / "open.csv").read_text().splitlines()))
    assert len(rows) == found.objects - found.alike > 5
    assert {row["label"] for row in rows} == {""}
    assert "carl: " in rows[0]["verdicts"]
    words = ["campaign", "agreement", session.path, "--escape-formulas", "--overwrite", "--out"]
    assert "formulas are escaped in CSV only" in run(capsys, *words, tmp_path / "open.vot", check=2)
    run(capsys, *words, tmp_path / "open.csv")
    run(capsys, "campaign", "agreement", session.path, "--out", tmp_path / "open.vot")
    assert list(Table.read(tmp_path / "open.vot")["object_id"]) == [row["object_id"] for row in rows]

    minority = {ANOMALY: NOMINAL, NOMINAL: ANOMALY, "disputed": ANOMALY}
    for row in rows[:3]:
        row["label"] = minority[row["consensus"]]
    with (tmp_path / "decided.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = run(capsys, "labels", "import", session.path, tmp_path / "decided.csv", "--decision", "--annotator", "gus")
    assert "3 labels added" in said
    said = run(capsys, "campaign", "agreement", session.path)
    assert "3 of which are decided" in said
    assert str(found.kappa) in said  # what people have said is what it was
    run(capsys, "labels", "export", session.path, tmp_path / "labels.csv")
    labels = {row["object_id"]: row for row in csv.DictReader((tmp_path / "labels.csv").read_text().splitlines())}
    for row in rows[:3]:
        assert (labels[row["object_id"]]["label"], labels[row["object_id"]]["decided_by"]) == (row["label"], "gus")
    assert labels[rows[3]["object_id"]]["decided_by"] == ""
    assert len(Session.open(session.path).disagreements()) == len(rows) - 3
