"""The answers of simulated agents, one file for each group of endpoints."""
