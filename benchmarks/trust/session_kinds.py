"""The files of a session: checkpoints, label logs, settings, records, preferences, campaigns; and bundles."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from functools import partial
from pathlib import Path
from random import Random

import torch

from astroanomaly import Session
from astroanomaly.app.review.preferences import load_preferences, save_preferences
from astroanomaly.app.web.token import kept_token
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import BackboneConfig
from astroanomaly.labels.log import LabelLog
from astroanomaly.learn.network.checkpoint import Checkpoint, has_digest
from astroanomaly.records import drain
from astroanomaly.session.caches import read_records
from astroanomaly.session.campaign.lists import progress_of, read_campaign
from astroanomaly.session.outputs.check import check_bundle
from astroanomaly.session.reproduce import reproduce_steps
from astroanomaly.session.rounds import list_rounds, new_round
from cache_kinds import make_cache
from edits import Edit, random_bytes, random_fields, random_tree
from kind import Found, Kind, fingerprint

__all__ = ["SESSION_KINDS", "TINY_BACKBONE"]

TINY_BACKBONE = {"name": "test_efficientnet", "weights": "random"}
_STATEMENTS = (
    "UPDATE event SET value=x'ff00'", "UPDATE event SET object_id=NULL", "UPDATE event SET annotator=12",
    "UPDATE event SET kind='other'", "UPDATE event SET number=number+9223372036854775000", "DELETE FROM event",
    "UPDATE event SET time='never'", "UPDATE event SET round='x'", "UPDATE event SET refers_to=number",
    "UPDATE event SET batch=-1", "UPDATE event SET probability='x'", "DELETE FROM label_class",
    "UPDATE label_class SET name=x'00'", "INSERT INTO label_class VALUES (9, 'nominal ')", "DROP TABLE audit",
    "CREATE VIEW v AS SELECT * FROM event; DROP TABLE audit; CREATE VIEW audit AS SELECT object_id FROM event",
    "DROP TABLE label_class; CREATE VIEW label_class AS SELECT 1 AS place, load_extension('x') AS name",
    "DROP TABLE audit; CREATE VIRTUAL TABLE audit USING fts5(object_id)", "PRAGMA user_version=99",
    "DROP TABLE audit; CREATE VIEW audit AS WITH RECURSIVE c(object_id) AS "
    "(SELECT 'a' UNION ALL SELECT object_id FROM c) SELECT object_id FROM c",
    "CREATE TRIGGER t AFTER INSERT ON event BEGIN DELETE FROM event; END",
    "CREATE TRIGGER t AFTER INSERT ON event BEGIN INSERT INTO label_class SELECT 5, 'x' || randomblob(9); END",
    "ALTER TABLE event ADD COLUMN more", "PRAGMA application_id=0", "PRAGMA user_version=-1",
    "INSERT INTO audit VALUES (NULL)", "INSERT INTO audit VALUES (x'ff')", "CREATE TABLE audit_draw (number)",
    "CREATE TABLE audit_draw (number, time, event, population, first); INSERT INTO audit_draw VALUES ('x', 1, 2, 3, 4)",
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------- checkpoints


def _checkpoint_seeds(folder: Path) -> dict[str, bytes]:
    seen = ModelInput.from_plain(Session.create(folder / "s", make_cache(folder)).model_input.to_plain())
    config = BackboneConfig(**TINY_BACKBONE)
    state = {"head.weight": torch.linspace(-1, 1, 40).reshape(2, 20), "head.bias": torch.zeros(2), "n": torch.tensor(3)}
    made = Checkpoint("fixmatch", ("nominal", "anomaly"), seen, config, state, {"iterations": 5}, {"loss": 0.25}, 7)
    made.save(folder / "x.safetensors")
    return {"x.safetensors": (folder / "x.safetensors").read_bytes()}


def _edit_checkpoint(rng: Random, name: str, content: bytes) -> list[Edit]:
    if rng.random() < 0.5:
        return random_bytes(rng, content, head=4000)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    inner = json.loads(header["__metadata__"]["astroanomaly"])
    if rng.random() < 0.5:
        return random_tree(rng, header, "tensors")
    return [("tensors", ["meta", *path], value) for _, path, value in random_tree(rng, inner, "tensors")]


def _read_checkpoint(folder: Path, name: str, content: bytes) -> Found:
    (folder / name).write_bytes(content)
    covered = has_digest(folder / name)
    found = Checkpoint.load(folder / name)
    about = (found.ranker, found.classes, found.model_input, found.backbone, found.settings, found.metrics, found.seed)
    tensors = [part for key in sorted(found.state) for part in (key, found.state[key].float().numpy())]
    return Found(fingerprint(about, *tensors), covered=covered)


# ---------------------------------------------------------------------------------------------------------- label logs


def _log_seeds(folder: Path) -> dict[str, bytes]:
    with LabelLog.create(folder / "labels.sqlite") as log:
        for number in range(12):
            log.verdict(
                [f"o{number}"], "anomaly" if number % 3 == 0 else "nominal", annotator="ann" if number % 2 else "bob"
            )
        log.skip(["o3"], annotator="ann")
        log.note(["o4"], "a ring?", annotator="ann")
        log.undo(annotator="bob")
        log.set_audit(["o7", "o8"], shards=["s"], population=40)
    return {"labels.sqlite": (folder / "labels.sqlite").read_bytes()}


def _edit_log(rng: Random, name: str, content: bytes) -> list[Edit]:
    kind = rng.random()
    if kind < 0.4:
        return [("sql", statement) for statement in rng.sample(_STATEMENTS, rng.choice((1, 1, 2)))]
    return random_fields(rng, content, "sqlite") if kind < 0.6 else random_bytes(rng, content, head=4096)


def _read_log(folder: Path, name: str, content: bytes) -> Found:
    for leftover in folder.glob("labels.sqlite*"):
        leftover.unlink()
    (folder / name).write_bytes(content)
    with LabelLog.open(folder / name, busy_s=0.1) as log:
        covered = log.verify()
        about = [sorted((key, item.label) for key, item in log.current().items()), sorted(log.audit), log.classes]
        about += [log.counts(), log.history("o4"), log.events(), log.labelled()]
        log.verdict(["o9"], "nominal", annotator="me")
        if ("o9", "me") not in {(event.object_id, event.annotator) for event in log.events()[-1:]}:
            raise AssertionError("a verdict was said to be written, and is not the last event")
    return Found(fingerprint(about), covered=covered)


# ------------------------------------------------------------------------------------------------------- small files


def _session_seeds(target: str, folder: Path) -> dict[str, bytes]:
    cache = make_cache(folder)
    session = Session.create(folder / "s", cache, settings={"input": {"size": 32}, "backbone": TINY_BACKBONE})
    with new_round(folder / "s" / "rounds", "probe", 0) as draft:
        draft.recipe.update({"options": {}, "figures": [{"loss": 0.1}]})
    save_preferences(session.path, "ann", {"ordering": "score", "page_size": 20, "filters": {"labels": "everything"}})
    kept_token(session.path)
    session.labels.close()
    path = folder / "s" / target
    (folder / "target").write_text(target)
    return {path.name: path.read_bytes()}


def _edit_small(rng: Random, name: str, content: bytes) -> list[Edit]:
    kind = rng.random()
    if name.endswith(".json") and kind < 0.7:
        return random_tree(rng, json.loads(content), "json")
    if name.endswith(".toml") and kind < 0.7:
        return random_tree(rng, tomllib.loads(content.decode()), "toml")
    return random_bytes(rng, content, words=(b"[" * 3000, b"\xff", b"NaN", b"9" * 5000, b"\0", b"= 1e999", b'"""'))


def _read_session(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    session = Session.open(folder / "s")
    try:
        about = [session.settings, session.cache_names, session.model_input, repr(session), session.context]
        about += [session.classes, len(session.cache)]
    finally:
        session.labels.close()
    return Found(fingerprint(about))


def _read_rounds(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    rounds = list_rounds(folder / "s" / "rounds")
    return Found(fingerprint([(one.number, one.ranker, one.last_event, one.audit_draws, one.recipe) for one in rounds]))


def _read_records(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    return Found(fingerprint(read_records(folder / "s")))


def _read_preferences(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content)
    return Found(fingerprint(load_preferences(folder / "s", "ann")))


def _put(folder: Path, content: bytes) -> Path:
    path = folder / "s" / (folder / "target").read_text()
    path.write_bytes(content)
    return path


def _read_token(folder: Path, name: str, content: bytes) -> Found:
    _put(folder, content).chmod(0o600)
    made = kept_token(folder / "s")
    token, kept = made.text, made.kept.startswith("it stays")
    if len(token) < 20:
        raise AssertionError(f"the token {token!r} is short")
    return Found(fingerprint(token if token in content.decode("latin-1") else "new", kept))


def _bundle_seeds(folder: Path) -> dict[str, bytes]:
    session = Session.create(folder / "s", make_cache(folder), settings={"backbone": TINY_BACKBONE})
    session.label(["o0", "o1"], "anomaly", annotator="ann")
    session.write_bundle(folder / "bundle", labelled="anomaly")
    session.labels.close()
    names = ("SHA256SUMS", "bundle.json")
    found = {name: (folder / "bundle" / name).read_bytes() for name in names}
    shutil.make_archive(str(folder / "whole"), "zip", folder, "bundle")
    return found | {"whole.zip": (folder / "whole.zip").read_bytes()}


def _edit_bundle(rng: Random, name: str, content: bytes) -> list[Edit]:
    if name.endswith(".zip"):
        return random_fields(rng, content, "zip") if rng.random() < 0.5 else random_bytes(rng, content, head=2000)
    words = (b"../../../etc/hostname", b"/etc/hostname", b"0" * 64 + b"  ../x\n", b"\n", b"\0")
    if name.endswith(".json") and rng.random() < 0.6:
        return random_tree(rng, json.loads(content), "json")
    return random_bytes(rng, content, words=words)


def _read_bundle(folder: Path, name: str, content: bytes) -> Found:
    path = folder / name if name.endswith(".zip") else folder / "bundle" / name
    before = path.read_bytes() if path.exists() else b""
    path.write_bytes(content)
    try:
        report = check_bundle(path if name.endswith(".zip") else folder / "bundle")
    finally:
        path.write_bytes(before)
    about = (report.objects, report.files, report.title, report.software, report.created)
    return Found(fingerprint(about), failures=len(report.problems), covered=not report.problems)


# ------------------------------------------------------------------------- campaigns, and rankings to compute again


def _campaign_seeds(folder: Path) -> dict[str, bytes]:
    session = Session.create(folder / "s", make_cache(folder), settings={"backbone": TINY_BACKBONE})
    session.assign(["ann", "ben"], shared=2, random=5)
    session.label(["o0", "o1"], "anomaly", annotator="ann")
    session.labels.close()
    signed = json.loads((folder / "s" / "campaign.json").read_text())
    plain = {key: value for key, value in signed.items() if not key.startswith("digest")}
    return {"campaign.json": json.dumps(signed).encode(), "plain campaign.json": json.dumps(plain).encode()}


def _read_campaign(folder: Path, name: str, content: bytes) -> Found:
    (folder / "s" / "campaign.json").write_bytes(content)
    session = Session.open(folder / "s")
    try:
        found = read_campaign(session.path)
        if found is None:
            raise AssertionError("there is a campaign, and none is found")
        about = [str(found), found, progress_of(found, session.labels.current(), session.labels.audit)]
    finally:
        session.labels.close()
    return Found(fingerprint(about), covered=b'"digest' in content)


def _ranking_seeds(folder: Path) -> dict[str, bytes]:
    settings = {"input": {"size": 32}, "backbone": TINY_BACKBONE, "lof": {"neighbours": 2}}
    session = Session.create(folder / "s", make_cache(folder), settings=settings)
    session.label(["o0", "o1"], "anomaly", annotator="ann")
    session.label(["o2", "o3"], "nominal", annotator="ann")
    session.train("probe")
    session.write_bundle(folder / "bundle", labelled="anomaly", include_caches=True)
    session.labels.close()
    bundle = folder / "bundle"
    names = ("SHA256SUMS", "bundle.json", "session/session.toml", "session/labels.sqlite")
    found = {name: (bundle / name).read_bytes() for name in names}
    for path in (*bundle.glob("session/rounds/*/ranker.json"), *bundle.glob("session/rounds/*/scores/*.h5")):
        found[path.relative_to(bundle).as_posix()] = path.read_bytes()
    return found


def _edit_ranking(rng: Random, name: str, content: bytes) -> list[Edit]:
    return _edit_log(rng, name, content) if name.endswith(".sqlite") else _edit_small(rng, name, content)


def _compute_again(folder: Path, name: str, content: bytes) -> Found:
    """Put a file into a bundle whose checksums are made to fit, as a stranger would, and compute its ranking."""
    path, sums = folder / "bundle" / name, folder / "bundle" / "SHA256SUMS"
    before = {path: path.read_bytes(), sums: sums.read_bytes()}
    was, now = (hashlib.sha256(one).hexdigest().encode() for one in (before[path], content))
    path.write_bytes(content)
    if path != sums:
        sums.write_bytes(before[sums].replace(was, now))
    try:
        found = drain(reproduce_steps(folder / "bundle", []))
    finally:
        for place, old in before.items():
            place.write_bytes(old)
    return Found(fingerprint(found.ranker, found.round, found.objects, found.ok, found.then, found.unscored))


SESSION_KINDS = (
    Kind("checkpoints", 50, _checkpoint_seeds, _edit_checkpoint, _read_checkpoint),
    Kind("label logs", 50, _log_seeds, _edit_log, _read_log),
    *(
        Kind(name, share, partial(_session_seeds, target), _edit_small, door)
        for name, share, target, door in (
            ("session.toml", 15, "session.toml", _read_session),
            ("recipes", 40, "rounds/0001/ranker.json", _read_rounds),
            ("records of caches", 40, "caches.json", _read_records),
            ("preferences", 40, "app.json", _read_preferences),
        )
    ),
    Kind("tokens", 20, partial(_session_seeds, "app-token"), _edit_small, _read_token),
    Kind("bundles", 20, _bundle_seeds, _edit_bundle, _read_bundle),
    Kind("campaigns", 40, _campaign_seeds, _edit_small, _read_campaign),
    Kind("rankings to reproduce", 20, _ranking_seeds, _edit_ranking, _compute_again),
)
