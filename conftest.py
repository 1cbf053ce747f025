"""Where the suite's fixtures, options and hooks come from: one plugin for each concern."""

pytest_plugins = [
    "tests.plugins.selections",
    "tests.plugins.server",
    "tests.plugins.database",
    "tests.plugins.certificate",
    "tests.plugins.profiles",
    "tests.plugins.staging",
    "tests.plugins.benchmark",
]
