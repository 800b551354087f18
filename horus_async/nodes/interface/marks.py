"""What marks the attributes of a node's class that it has for others."""

ANNOUNCED = "interfaces"
"""Where nodes say what they offer."""
CONTROL = "nodes"
"""The service with which runs themselves are asked: see `remote.control`."""
OFFERS = "__horus_offers__"


def offers_anything(kind: type, root: type) -> bool:
    """Whether a node's class has parameters, services or actions, by what it declares below ``root``."""
    bases = (base for base in kind.__mro__ if not issubclass(root, base))
    return any(OFFERS in getattr(value, "__dict__", ()) for base in bases for value in vars(base).values())
