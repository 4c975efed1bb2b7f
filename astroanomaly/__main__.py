"""``python -m astroanomaly``."""

import sys

from astroanomaly.cli import main

if __name__ == "__main__":
    sys.exit(main())
