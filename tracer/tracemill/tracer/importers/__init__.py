"""Sessions that others recorded, as events of ours: one module for each format."""
