"""Builds what people install. Started by packaging/build, which makes the environment it runs in."""
