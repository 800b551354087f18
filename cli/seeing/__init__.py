"""Commands to look at robots and sessions, in other programs and in pages."""
