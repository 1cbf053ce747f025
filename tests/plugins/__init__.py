"""The fixtures, options and hooks of the suite, one plugin for each concern."""
