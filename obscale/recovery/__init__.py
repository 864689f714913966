"""Diagnoses a scale-out that failed, decides on a remedy, and carries it out."""
