"""Methods that freeze, add or widen parts of a network."""
