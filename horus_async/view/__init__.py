"""One page of a session, a black box or a trace: what went wrong, when, and what the messages looked like then.

What goes in the page is made here from what the readers give, as plain dicts that become JSON; ``page/`` has the
template, the style and the program that draws them. Times are whole microseconds since the run began.
"""
