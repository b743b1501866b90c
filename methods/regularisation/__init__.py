"""Methods that hold on to weights which are important to earlier tasks."""
