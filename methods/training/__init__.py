"""What trains a network: the steps, the optimizer, and what is measured on the way."""
