"""The flows that Prefect can run."""
