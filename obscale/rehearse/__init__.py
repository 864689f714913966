"""Plays a request on a simulated double of the cluster."""
