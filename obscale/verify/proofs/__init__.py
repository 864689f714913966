"""The proofs that a node joined, one file for each thing they look at."""
