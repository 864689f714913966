"""What Prefect can be asked to run."""
