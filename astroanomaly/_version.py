"""The version, in a file of its own so that any layer can import it."""

__all__ = ["__version__"]

__version__ = "0.2.0"
