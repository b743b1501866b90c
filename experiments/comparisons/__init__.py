"""Comparisons of settings and methods: many runs, and their page."""
