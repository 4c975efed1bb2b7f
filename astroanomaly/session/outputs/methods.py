"""The method of a search in sentences for a paper, made of what was really done, with citations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from astroanomaly._version import __version__
from astroanomaly.errors import AstroAnomalyError, ConfigError, SessionError
from astroanomaly.files import atomic_path, check_new
from astroanomaly.hookspecs import rests_on_labels
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.learn.features.block_files import describe_block
from astroanomaly.plugins import load_plugins
from astroanomaly.records import NOMINAL
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.injection.completeness import read_completeness
from astroanomaly.session.injection.efficiency import LEVEL
from astroanomaly.session.known import read_known
from astroanomaly.session.outputs.provenance import public, software_versions
from astroanomaly.session.outputs.references import SHORT, bibtex
from astroanomaly.session.remaining import remaining
from astroanomaly.session.rounds import Round
from astroanomaly.tables.latex import latex_text

__all__ = ["MethodText", "methods", "write_methods"]

_KEY = "|".join(SHORT)
_CITED = re.compile(rf"@\{{((?:{_KEY})(?:,(?:{_KEY}))*)\}}")  # in the sentences: keys of references
_SUFFIXES = (".txt", ".tex")
_EDIT = "Made from the records of the search, to be edited: it does not know why anything was done."
_MADE_OF = {
    "spectra": ", made of its spectrum", "light curves": ", made of its light curve",
    "photometry": ", measured on its cutout",
}  # fmt: skip
_BUNDLED = {"tf_efficientnet_lite2": "EfficientNet-Lite2", "tf_efficientnet_lite0": "EfficientNet-Lite0"}
_MOST_SETTINGS = 400  # letters
_SERVICES = {"simbad": ("SIMBAD", "simbad"), "gaia": ("Gaia DR3", "gaia"), "ned": ("NED", "")}
_WAYS = {  # how each ranker works, with what it takes from whom
    "cold": "outlier scores: the distance to the nearest neighbours among the frozen features",
    "active-search": (
        "logistic regression on frozen features on the scale of the survey @{powertransform,sklearn}, to whose "
        "log-odds an outlier score is added as a prior"
    ),
    "probe": "logistic regression on frozen features on the scale of the survey @{powertransform,sklearn}",
    "tuned": (
        "the network fine-tuned on the labels, starting from a logistic regression on its frozen features "
        "@{finetuning}; scores are the mean of the log-odds of the network before and after"
    ),
    "fixmatch": "the semi-supervised network FixMatch @{fixmatch} as AnomalyMatch trains it @{anomalymatch}",
}


@dataclass(frozen=True)
class MethodText:
    """The method of a search.

    Attributes
    ----------
    paragraphs
        Sentences, with citations as ``@{key,key}``.
    versions
        Versions of the packages that scores depend on, when the ranking was made.
    """

    paragraphs: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def keys(self) -> tuple[str, ...]:
        """What is cited, see `astroanomaly.session.outputs.references.SHORT`, in the order of the text."""
        found = (key for text in self.paragraphs for match in _CITED.findall(text) for key in match.split(","))
        return tuple(dict.fromkeys(found))

    @property
    def bibtex(self) -> str:
        """BibTeX of what is cited."""
        return bibtex(self.keys)

    @property
    def text(self) -> str:
        """The paragraphs as plain text, with names and years."""
        return "\n\n".join(_cited(text, str, _short) for text in self.paragraphs) + "\n"

    @property
    def latex(self) -> str:
        r"""The paragraphs as LaTeX, with ``\citep``."""
        return "\n\n".join(_cited(text, latex_text, _citep) for text in self.paragraphs) + "\n"

    @property
    def html(self) -> str:
        """A section of a report."""
        paragraphs = "".join(
            f"<p>{_cited(text, escape, lambda keys: escape(_short(keys)))}</p>" for text in self.paragraphs
        )
        return (
            f"<section class=method><h2>Method</h2><p class=muted>{_EDIT}</p>{paragraphs}"
            f"<h3>BibTeX</h3><pre>{escape(self.bibtex)}</pre></section>\n"
        )


def _cited(text: str, spelt: Callable[[str], str], cite: Callable[[Sequence[str]], str]) -> str:
    """Spell text, and what it cites."""
    parts = _CITED.split(text)  # text, keys, text ...
    return "".join(_spelt(part, spelt) if k % 2 == 0 else cite(part.split(",")) for k, part in enumerate(parts))


def _spelt(text: str, spelt: Callable[[str], str]) -> str:
    """Spell text between citations; blanks at its ends, which some formats escape, stay."""
    inner = text.strip(" ")
    if not inner:
        return text
    before, after = text[: len(text) - len(text.lstrip(" "))], text[len(text.rstrip(" ")) :]
    return before + spelt(inner) + after


def _short(keys: Sequence[str]) -> str:
    return f"({'; '.join(SHORT[key] for key in keys)})"


def _citep(keys: Sequence[str]) -> str:
    return rf"\citep{{{','.join(keys)}}}"


def write_methods(found: MethodText, path: Path, *, overwrite: bool = False) -> None:
    """Write the method as ``.txt``, with BibTeX at the end, or as ``.tex``, with a file ``.bib`` beside it.

    Raises
    ------
    ConfigError
        For another suffix.
    StorageError
        If a file exists and must not be replaced, or cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: the method is written as {' or '.join(_SUFFIXES)}")
    contents = {path: f"{_EDIT}\n\n{found.text}\n{found.bibtex}"}
    if suffix == ".tex":
        contents = {path: f"% {_EDIT}\n{found.latex}", path.with_suffix(".bib"): found.bibtex}
    for place in contents:
        check_new(place, overwrite=overwrite)
    for place, content in contents.items():
        with atomic_path(place) as temporary:
            temporary.write_text(content, encoding="utf-8")


def methods(session: SessionFolder) -> MethodText:
    """Say in sentences how the latest ranking of a session was made.

    Raises
    ------
    SessionError
        If nothing was scored to the end.
    """
    last = session.last_round
    versions = last.recipe.get("versions") or {}
    sentences = (
        _survey(session), _network(session), _labels(session, last), _ranking(session, last), _audit(session),
        _known(session), _injections(session), _software(versions),
    )  # fmt: skip
    paragraphs = (" ".join(part) for part in sentences)
    return MethodText(tuple(text for text in paragraphs if text), versions)


# ------------------------------------------------------------------------------------------------------------ sentences


def _survey(session: SessionFolder) -> Iterator[str]:
    yield (
        f"We searched {len(session.objects):,} objects with AstroAnomaly {__version__} @{{astroanomaly}}, on cutouts "
        f"in {_many(len(session.model_input.bands), 'band')} ({', '.join(session.model_input.bands)})"
        + (f" of {_size(session)}" if session.has_caches else "")
        + "."
    )


def _size(session: SessionFolder) -> str:
    cache = session.cache
    layout = cache.layout
    pixels = f"{layout.width} by {layout.height} pixels"
    ids = cache.sample(min(len(cache), 16), np.random.default_rng(0))
    turned = [one for one in cache.pictures.compasses(ids) if one is not None]
    if not turned:
        return pixels
    scales = [one.scale_arcsec for one in turned]
    if max(scales) > 1.01 * min(scales):
        return pixels
    return f"{pixels} of {float(np.median(scales)):.3g} arcsec"


def _network(session: SessionFolder) -> Iterator[str]:
    seen, backbone = session.model_input, session.context.backbone
    stretch = session.settings["stretch"]
    if seen.pixel_kind == "display":
        yield f"The network saw the pictures as they are, at {seen.size} by {seen.size} pixels."
    else:
        scope = "the survey" if stretch["scope"] == "survey" else "each cutout"
        yield (
            f"The network saw each cutout at {seen.size} by {seen.size} pixels, its flux brought to 0 to 1 by the "
            f"curve {stretch['curve']} within levels (interval {stretch['interval']}) measured on {scope}."
        )
    name = _BUNDLED.get(backbone.name, backbone.name)
    cited = "timm,efficientnet" if "efficientnet" in backbone.name else "timm"
    weights = {
        "bundled": "with weights pretrained on ImageNet", "pretrained": "with the pretrained weights of timm",
        "random": "with random weights",
    }.get(backbone.weights, f"with the weights of the file {Path(backbone.weights).name}")  # fmt: skip
    yield f"The network was {name} @{{{cited}}} {weights}, in PyTorch @{{torch}}."
    for block in session.context.blocks:
        kind = str(describe_block(Path(block.folder)).get("kind", "")) if block.folder else ""
        yield (
            f"Beside the image stood {_many(len(block.columns), 'number')} of each object{_MADE_OF.get(kind, '')} "
            f"({', '.join(block.columns[:8])}{' ...' if len(block.columns) > 8 else ''}; weight {block.weight:g})."
        )


def _labels(session: SessionFolder, last: Round) -> Iterator[str]:
    current = {i: one for i, one in session.labels.current().items() if one.label}
    if not current:
        yield "No object was labelled."
        return
    people = {who for one in current.values() for who in one.votes}
    counts = Counter(one.label for one in current.values())
    order = [*(name for name in session.classes if name in counts), *([DISPUTED] if DISPUTED in counts else [])]
    listed = ", ".join(f"{counts[name]:,} {name}" for name in order)
    several = sum(len(one.votes) > 1 for one in current.values())
    yield f"By now {_many(len(current), 'object')} {'has' if len(current) == 1 else 'have'} a label ({listed})"
    yield f"by {_many(len(people), 'person', 'people')}" + (
        f", {several:,} of them by more than one." if several else "."
    )
    agreed = "that of the majority"
    if session.grades is not None:
        yield f"Candidates were graded {session.grades}."
        agreed = "the median of its grades, and that of the majority where there are other labels"
    if len(people) > 1:
        yield f"The label of an object is {agreed}; disputed ones are not learnt from."
    rounds = [item for item in session.rounds if item.number <= last.number]
    used = ", ".join(f"{item.number}: {item.ranker}" for item in rounds[-20:])
    made = _many(last.number, "round")
    yield f"The ranking was made in {made} of ranking and labelling (those that are kept: {used})."


def _ranking(session: SessionFolder, last: Round) -> Iterator[str]:
    recipe = last.recipe
    ranker = session.ranker(last.ranker)
    way = _WAYS.get(last.ranker) or load_plugins("ranker").ranker(last.ranker).summary
    learnt = recipe.get("labels") or {}
    kinds = ", ".join(
        f"{count:,} {name}" for name, count in sorted(learnt.items(), key=lambda item: item[0] != NOMINAL)
    )
    on = f", learnt from {kinds} objects" if kinds else ", which learnt from no labels"
    on = on if rests_on_labels(ranker) else ""
    yield f"The scores are those of round {last.number} by the ranker {last.ranker} ({way}){on}."
    weight = recipe.get("options", {}).get("grade_weight")
    if session.grades is not None and kinds:
        yield "All grades but the last were learnt as one kind of anomaly" + (
            "." if weight is None else f", each after the best with {weight:g} of the weight of the one before."
        )
    options = public({"": ", ".join(f"{k}={v}" for k, v in sorted(recipe.get("options", {}).items()))})[""]
    if options:
        cut = options if len(options) <= _MOST_SETTINGS else options[:_MOST_SETTINGS] + " ..."
        yield f"Its settings were {cut}; the seed was {session.settings['session']['seed']}."
    yield "A score is the log-odds that an object is not nominal. It orders objects, and is not calibrated."


def _audit(session: SessionFolder) -> Iterator[str]:
    audit = session.labels.audit
    if not audit:
        return
    drawn = _many(len(audit), "object")
    yield f"An audit set of {drawn} was drawn at random, to be labelled blind; nothing learnt from it."
    try:
        found = remaining(session, ())
    except AstroAnomalyError as error:
        if not isinstance(error, SessionError):
            raise
        return
    yield (
        f"{found.audit:,} of them have a label, {found.audit_anomalies:,} as anomalies. From these, "
        f"{found.total.expected:.0f} anomalies are left among {found.unlabelled:,} objects without a label "
        f"(90 per cent interval {found.total.low:.0f} to {found.total.high:.0f})."
    )


def _known(session: SessionFolder) -> Iterator[str]:
    for where in read_known(session.path):
        name, key = _SERVICES.get(where.catalog, (where.catalog, ""))
        name += f" @{{{key}}}" if key else ""
        counts = Counter(one.lookup for one in where.objects.values())
        found = sum(one.matches > 0 for one in where.objects.values())
        when = "; ".join(
            f"{_many(counts[k], 'object')} within {one.radius_arcsec:g} arcsec on {one.date[:10]}"
            for k, one in enumerate(where.lookups)
            if counts[k]
        )
        yield f"Objects were looked up in {name}: {when}; {found:,} of them {'is' if found == 1 else 'are'} there."


def _injections(session: SessionFolder) -> Iterator[str]:
    for found in read_completeness(session.path):
        total = found.efficiency.total
        yield (
            f"Of {total.n:,} injections ({found.kind}: {found.summary}), {total.found:,} would be among the first "
            f"{found.top:,} objects ({total.fraction:.0%}, {LEVEL:.0%} interval {total.low:.0%} to {total.high:.0%}), "
            f"ranked by {found.ranker} of round {found.round}."
        )


def _software(versions: Mapping[str, str]) -> Iterator[str]:
    known = versions or software_versions()
    listed = ", ".join(f"{name} {text}" for name, text in known.items())
    when = "when the ranking was made" if versions else "of this installation, for the round did not record them"
    yield "Tables and coordinates were handled with Astropy @{astropy}, arrays with NumPy @{numpy}."
    yield f"Versions {when}: {listed}."


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
