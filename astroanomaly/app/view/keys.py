"""Keyboard shortcuts: the table of keys, and what each does."""

from __future__ import annotations

from collections.abc import Sequence

from astroanomaly.app.review.page_state import CANDIDATES, ViewState
from astroanomaly.labels.grades import Grades
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["KEYS", "grade_keys", "key_of_class", "press", "verdict_keys"]

_NUMBERS = "123456789"
KEYS = (  # keys as the browser calls them, how they are shown, what they do
    (("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"), "← → ↑ ↓", "move the cursor"),
    (("a",), "a", "anomaly"),
    (("n",), "n", "nominal"),
    (tuple(_NUMBERS), "1 … 9", "the session's own classes, in their order"),
    ((), "A B C X", "grades, where the session has some: the letter or digit of each, before any other meaning"),
    (("s",), "s", "skip: seen, no verdict"),
    (("f",), "f", "flag for a second look"),
    (("u", "Backspace"), "u or Backspace", "undo, without limit"),
    (("r",), "r", "label the rest of the page nominal"),
    (("PageDown", " "), "PageDown or Space", "next page; before that, rows of this one that wait for verdicts"),
    (("PageUp",), "PageUp", "previous page"),
    (("Home", "End"), "Home, End", "first, last object of the page"),
    (("Enter",), "Enter", "open or close the inspector"),
    (("i",), "i", "invert the colours"),
    (("o",), "o", "north up, or the orientation of the stored pixels"),
    (("Escape",), "Esc", "close what is open, clear the selection, end marking by click, back to the candidates"),
    (("?",), "?", "show or hide the keys"),
)
_KEYS_OF_EVERY_VIEW = ("?", "Escape")  # keys that mean something on every view


def grade_keys(grades: Grades | None) -> dict[str, str]:
    """Return the label class of each key that is the name of a grade; `Grades.of` refuses letters that are taken."""
    if grades is None:
        return {}
    return {name.lower(): label for name, label in zip(grades.names, grades.labels, strict=True) if len(name) == 1}


def verdict_keys(classes: Sequence[str], grades: Grades | None = None) -> dict[str, str]:
    """Return the label class of each key that gives a verdict; that of a grade comes before any other meaning.

    A digit is the place among the session's own classes. Where grades are digits, places of grades have no key: who
    presses 1 does not mean the grade 5 because it is the first one.
    """
    own = grade_keys(grades)
    places = dict(zip(_NUMBERS, classes[2:], strict=False))
    if grades is not None and any(key.isdigit() for key in own):
        places = {key: label for key, label in places.items() if label not in grades.names}
    return own | {k: label for k, label in ({"a": ANOMALY, "n": NOMINAL} | places).items() if k not in own}


def key_of_class(word: str, classes: Sequence[str], grades: Grades | None = None) -> str:
    """Return the key that labels objects as a class; empty for the tenth own class and those after it."""
    return next((key for key, label in verdict_keys(classes, grades).items() if label == word), "")


def press(state: ViewState, key: str) -> None:
    """Do what a key does; keys without a meaning do nothing, and no verdict is given on objects out of sight."""
    key = key.lower() if len(key) == 1 else key
    if state.view != CANDIDATES and key not in _KEYS_OF_EVERY_VIEW:
        return
    given = verdict_keys(state.shared.classes, state.shared.grades)
    if key in given:
        state.verdict(given[key])
        return
    if len(key) == 1 and key in _NUMBERS:
        state.say(f"there is no class {key}: this session has {len(state.shared.classes[2:])} of its own")
        return
    actions = {
        "s": state.skip,
        "f": state.flag,
        "u": state.undo,
        "Backspace": state.undo,
        "r": state.rest_nominal,
        "PageDown": lambda: state.turn(1),
        " ": lambda: state.turn(1),
        "PageUp": lambda: state.turn(-1),
        "ArrowLeft": lambda: state.move(-1),
        "ArrowRight": lambda: state.move(1),
        "ArrowUp": lambda: state.move(-state.columns),
        "ArrowDown": lambda: state.move(state.columns),
        "Home": lambda: state.move_cursor_to(0),
        "End": lambda: state.move_cursor_to(max(0, len(state.page.ids) - 1)),
        "Enter": state.inspect,
        "i": lambda: state.set_display(invert=not state.display.invert),
        "o": state.toggle_north,
        "?": state.help,
        "Escape": state.escape,
    }
    if key in actions:
        actions[key]()
