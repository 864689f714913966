"""One step each: its time limit, retry rule, log lines and artifact."""
