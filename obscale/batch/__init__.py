"""The state of a batch: its rows, its preflight, its connections and its report."""
