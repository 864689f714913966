"""Sets for one server what lives there as its start option only."""
