"""Ways to start a run, smallest first; README.md says which is for whom."""
