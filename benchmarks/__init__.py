"""The benchmarks: obscale beside the official SDK and beside the ideal, on one machine."""
