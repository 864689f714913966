"""The DAGs of simulated clusters, and the engine that runs them."""
