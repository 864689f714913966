"""Draws pictures of clusters, DAGs and batches, each as one line of Markdown."""
