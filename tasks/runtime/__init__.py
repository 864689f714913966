"""Everything that adapts to Prefect: blocks, journal, artifacts, events, states and signals."""
