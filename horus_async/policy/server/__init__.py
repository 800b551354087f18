"""The policy server; needs the extra ``serve``."""

from .http import ServerOptions, serve_policy
from .service import ServiceOptions

__all__ = ["ServerOptions", "ServiceOptions", "serve_policy"]
