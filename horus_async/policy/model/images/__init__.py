"""What an image is, and texts and values without images: told by content, never by the name of a field.

Images travel as encoded files (JPEG, PNG, …) or as raw pixels; as bytes, as base64 or hexadecimal text (alone, in a
``data:`` URL, in the middle of other text), as arrays, or as lists of numbers. In doubt, binary data is an image; text
never is. Neither Pillow nor NumPy is needed to decide.
"""
