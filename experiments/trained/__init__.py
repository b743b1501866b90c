"""Runs as models: load one, predict with it, train it on, export it."""
