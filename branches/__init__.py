"""Protocols and families of methods that stand on the trunk; no package below imports them."""
