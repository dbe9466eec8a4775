"""The node in figures for Prometheus."""
