"""Follows a DAG to its end."""
