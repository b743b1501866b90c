"""Redwood: a tree of continual-learning settings, and the methods that apply to them."""

__version__ = "0.1.0"
