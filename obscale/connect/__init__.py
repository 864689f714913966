"""Opens connections to a cluster, and checks that its agents are of one cluster."""
