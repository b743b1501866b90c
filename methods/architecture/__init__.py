"""Methods that freeze or add parts of a network."""
