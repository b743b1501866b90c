"""Methods of clients that keep their samples: they train apart, and a server averages their weights."""
