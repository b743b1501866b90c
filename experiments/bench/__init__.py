"""Benches: declared suites of runs with weights and expectations, raw events, scores, and an exit code."""
