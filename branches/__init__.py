"""Optional settings and families of methods. No package below imports them."""
