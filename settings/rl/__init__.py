"""The reinforcement branch of the tree: streams of gymnasium environments, with a budget of steps for each task."""
