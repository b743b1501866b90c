"""Target propagation: a network is trained by targets for each layer, without backpropagation through it."""
