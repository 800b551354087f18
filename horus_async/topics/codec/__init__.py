"""Values to message payloads and back."""

from .codec import GENERAL, as_bytes, decode, decode_borrowed, encode, is_quick, to_json

__all__ = ["GENERAL", "as_bytes", "decode", "decode_borrowed", "encode", "is_quick", "to_json"]
