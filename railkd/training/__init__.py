"""The training loop, its schedule, and the state from which a stopped run goes on."""
