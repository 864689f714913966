"""Carries out the rows of a batch on workers."""
