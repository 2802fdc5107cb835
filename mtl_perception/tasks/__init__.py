"""The three tasks: one file each for its target, its loss and how its output becomes a map."""

TASKS = ('semantic', 'instance', 'depth')
