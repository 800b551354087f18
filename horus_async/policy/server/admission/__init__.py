"""Which requests are let in: who asks, in which form, and how much of it there is room for."""
