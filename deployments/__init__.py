"""Ways to start a run, smallest first."""
