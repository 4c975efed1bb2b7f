"""The recipes for conda-forge say what pyproject.toml says."""

import hashlib
import importlib.util
import tomllib

import pytest
import yaml

from folders import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def conda_forge():
    specification = importlib.util.spec_from_file_location("conda_forge", ROOT / "packaging" / "conda_forge.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def sdist(tmp_path):
    path = tmp_path / "astroanomaly-1.2.3.tar.gz"
    path.write_bytes(b"as it is on PyPI")
    return path


def test_every_dependency_is_in_the_recipe(conda_forge, sdist):
    made = conda_forge.recipes(sdist)
    run = made["astroanomaly"]["requirements"]["run"]
    assert len(run) == len(PROJECT["dependencies"]) + 1
    assert "pytorch >=2.6" in run
    assert "astroquery >=0.4.11,<0.4.13" in run
    assert made["astroanomaly"]["context"]["version"] == "1.2.3"
    assert made["astroanomaly"]["source"]["sha256"] == hashlib.sha256(b"as it is on PyPI").hexdigest()


def test_what_conda_forge_lacks_has_a_recipe_of_its_own(conda_forge, sdist):
    made = conda_forge.recipes(sdist)
    names = {line.split()[0] for line in made["astroanomaly"]["requirements"]["run"]}
    assert set(made) - {"astroanomaly"} == {name for name in names if name.startswith("efficientnet")}


def test_a_recipe_is_plain_yaml(conda_forge, sdist, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["conda_forge.py", str(sdist), "--out", str(tmp_path / "recipes")])
    conda_forge.main()
    for name, recipe in conda_forge.recipes(sdist).items():
        text = (tmp_path / "recipes" / name / "recipe.yaml").read_text("utf-8")
        assert yaml.safe_load(text) == recipe


def test_an_archive_that_is_no_release_is_refused(conda_forge, tmp_path):
    with pytest.raises(ValueError, match=r"expected astroanomaly-X\.Y\.Z"):
        conda_forge.recipes(tmp_path / "astroanomaly-main.zip")
