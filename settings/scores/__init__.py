"""Scores of predictions: before learning, on test samples, and the checks of what a method answers."""
