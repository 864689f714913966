"""Facts about cluster and target become findings, one rule at a time."""
