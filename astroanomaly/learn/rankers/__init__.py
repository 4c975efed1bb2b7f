"""The rankers, one algorithm a file, and what they share."""
