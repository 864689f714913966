"""The faults that a simulated world can play."""
