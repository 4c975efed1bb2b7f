"""One panel of the page a file: its widgets, and how they follow the page's state."""
