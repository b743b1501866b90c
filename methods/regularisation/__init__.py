"""How important weights are to earlier tasks, and the penalty that follows from it."""
