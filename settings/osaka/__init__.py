"""OSAKA: a few samples of a context at a time, predicted before their labels come; contexts come back."""
