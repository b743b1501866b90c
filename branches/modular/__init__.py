"""Methods whose networks consist of modules."""
