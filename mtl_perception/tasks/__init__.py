"""The three tasks, one file each: target, loss and decoding."""

TASKS = ('semantic', 'instance', 'depth')
