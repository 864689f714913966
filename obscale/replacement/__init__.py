"""Replaces a node: the rules and proofs of the two halves together, a growth and a removal."""
