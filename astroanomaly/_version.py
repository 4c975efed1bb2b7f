"""The version, apart from the package's face so that any layer can read it."""

__all__ = ["__version__"]

__version__ = "0.2.0"
