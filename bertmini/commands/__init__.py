"""The commands of `bertmini`, a module for each kind; `bertmini.cli` lists, reads and runs them."""
