"""What a server imports first, so that it ends with its parent also while it imports the rest.

Elsewhere than on Linux, a server that has lost its parent ends once it has imported all.
"""

from redwood.core.child_processes import killed_with_parent

killed_with_parent()
