"""The reinforcement limb of the tree: streams of gymnasium environments, with a budget of steps for each task."""
