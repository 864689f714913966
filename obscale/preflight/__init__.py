"""The preflight rules: facts about cluster and target become findings."""
