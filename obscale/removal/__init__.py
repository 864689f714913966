"""Takes an observer, or a whole zone, out of a cluster, and proves that it is gone."""
