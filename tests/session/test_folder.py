"""What a session has on disk, without the verbs; and the ranker of a round, brought back."""

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.records import drain
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder

VERBS = {
    "add_audit", "agreement", "app", "assign", "campaign", "campaign_progress", "candidates", "check",
    "contact_sheet", "crossmatch", "crossmatch_steps", "declare_grades", "disagreements", "export", "export_labels",
    "export_scores", "feature_map", "import_classifications", "import_labels", "inject", "label", "labels_table",
    "light_curve", "methods", "prune_rounds", "relocate", "remaining", "reproduce", "saliency", "score", "score_parts",
    "score_source", "score_source_steps", "score_steps", "scores", "showings", "similar", "spectrum",
    "stored_rounds", "summary", "suspects", "train", "train_steps", "write_bundle", "write_cutouts",
    "write_footprint", "write_methods", "write_report", "write_subject_set",
}  # fmt: skip


@pytest.fixture
def labelled(new_session):
    session = new_session(computed=True)
    ids = list(session.cache.ids)
    session.label(ids[:5], "anomaly")
    session.label(ids[5:20], "nominal")
    return session


def public(kind):
    return {name for name in dir(kind) if not name.startswith("_")}


def test_a_session_is_its_folder_and_the_verbs():
    assert public(Session) - public(SessionFolder) == VERBS


def test_the_folder_sees_what_the_verbs_have_done(labelled):
    report = labelled.train("probe")
    folder = SessionFolder.open(labelled.path)
    assert folder.last_round == report.round
    assert (folder.settings, folder.classes, folder.model_input) == (
        labelled.settings, labelled.classes, labelled.model_input,
    )  # fmt: skip
    np.testing.assert_array_equal(folder.last_round.read_scores(folder.cache)[1], labelled.scores()[1])
    np.testing.assert_array_equal(folder.points(folder.cache.ids[:7]), labelled.points(labelled.cache.ids[:7]))


def test_what_the_folder_makes_is_a_session(labelled, tmp_path, tiny):
    (tmp_path / "labels.csv").write_text(f"object_id,label\n{labelled.cache.ids[0]},anomaly\n")
    made = SessionFolder.create(
        tmp_path / "other", labelled.cache.folders[0], settings=tiny, labels=tmp_path / "labels.csv", audit=9
    )
    session = Session.open(made.path)
    assert type(session) is Session
    assert list(session.labels.current()) == [labelled.cache.ids[0]]
    assert len(session.labels.audit) == 9


@pytest.mark.parametrize("ranker", ["probe", "fixmatch"])
def test_a_ranker_is_brought_back_once_and_scores_as_it_did(labelled, ranker):
    last = labelled.train(ranker).round
    trained = drain(fitted_steps(labelled, last))
    folder = SessionFolder.open(labelled.path)
    again = drain(fitted_steps(folder, last))
    assert again is not trained
    assert drain(fitted_steps(folder, last)) is again
    before, now = (np.concatenate([p.log_odds for p in r.score(labelled.cache)]) for r in (trained, again))
    np.testing.assert_allclose(now, before, atol=1e-5)


def test_the_ranker_at_hand_is_that_of_the_round_that_is_asked_for(labelled):
    first = labelled.train("cold").round
    second = labelled.train("probe").round
    assert [drain(fitted_steps(labelled, item)).name for item in (second, first, second)] == ["probe", "cold", "probe"]
