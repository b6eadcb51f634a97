"""Where received transfers lie sealed, and the records about them; blocking."""
