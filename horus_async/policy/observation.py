"""Images and arrays of observations, under the name that programs import them by."""

from .model.observation import arrays, image_array

__all__ = ["arrays", "image_array"]
