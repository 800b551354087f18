"""The options of the policy service, under the name that programs import them by."""

from horus_async.policy.server import ServiceOptions

__all__ = ["ServiceOptions"]
