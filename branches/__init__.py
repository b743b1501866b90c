"""Protocols and families of methods that stand on the trunk; each hangs on the door of entry points."""
