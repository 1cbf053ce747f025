"""What the tests stand on: servers, and what gets between them and a client."""
