"""How a person starts it: one command, `flfleet`."""
