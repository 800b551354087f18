"""The commands of ``horus-async record``, and what stands behind them."""
