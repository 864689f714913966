"""Decides whether a scale-out may be posted, adopted, or must wait."""
