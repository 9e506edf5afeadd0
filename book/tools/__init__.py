"""What turns chapter sources into executed notebooks, and notebooks into the published book."""
