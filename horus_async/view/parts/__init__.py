"""What a page is made of: plots, lanes, incidents, messages, images. Pure."""
