"""Methods that learn weights from which a few gradient steps adapt to a context."""
