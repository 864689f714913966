"""Proves that a node joined, level by level."""
