"""The report of a run, and the evidence that stays of it."""
