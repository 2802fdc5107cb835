"""What messages mean, whichever classes hold them; imports no ROS."""


class MessageError(ValueError):
    """A message that cannot be used; the text says what it holds and what was expected."""
