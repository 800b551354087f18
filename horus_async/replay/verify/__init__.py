"""Live nodes are called as the recorded ones were, and what they send is compared."""
