"""One lock for what astropy does in the threads that fetch.

Its filters of warnings belong to the whole process, and it changes them now and then: two threads at once undo each
other's changes. Python 3.11 also fails now and then at the syntax trees that two VOTables need at once. Waiting for
the network goes on beside it.
"""

import threading

__all__ = ["ASTROPY"]

ASTROPY = threading.RLock()
