"""Sessions: what is on disk, rounds, scores, candidates, exports."""
