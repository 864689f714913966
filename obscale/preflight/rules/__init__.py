"""The preflight rules, one file for each subject."""
