"""What becomes of a goal that comes while another one is carried out."""

from enum import Enum


class Goals(Enum):
    """What becomes of the further goal: of an action, one is carried out at a time."""

    REJECT = "reject"
    """It is refused."""
    QUEUE = "queue"
    """It is carried out after those that came before it."""
    PREEMPT = "preempt"
    """It is carried out in place of the present one, which is given up, and of those that wait."""
