"""The Prefect tasks, one for each step, with limits, retries, log lines and artifact."""
