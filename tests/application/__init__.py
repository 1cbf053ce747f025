"""The application as it is before the migration: its tables, its rows and what it says."""
