"""Ways back through a network, and the targets that they lead to."""
