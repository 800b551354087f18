"""Running robots and recorded sessions in Foxglove, and viewers that speak its protocol, by the official SDK."""
