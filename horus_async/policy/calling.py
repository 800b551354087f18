"""How a policy is asked, under the name of version 0.1.0, by which programs import it."""

from horus_async.policy.calls.calling import Call, PolicyCaller

__all__ = ["Call", "PolicyCaller"]
