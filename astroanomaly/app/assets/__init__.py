"""Style sheets, scripts and the template of the page."""

from importlib.resources import files

__all__ = ["asset"]


def asset(name: str) -> str:
    """Return the text of a style sheet, script or template."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
