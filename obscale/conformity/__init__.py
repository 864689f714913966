"""Says whether an agent answers as obscale expects: its shapes against those of a real obshell."""
