"""Labels: the log of verdicts, the consensus of annotators, label tables."""
