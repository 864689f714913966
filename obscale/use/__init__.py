"""Gives a tenant another number of units after its cluster has grown, and proves that it has it."""
