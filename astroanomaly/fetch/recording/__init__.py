"""Records of what archives were asked and what they answered: kept in a folder without secrets, and replayed."""
