"""The recipe: every choice of an experiment, typed, read from TOML, changed on the command line, checked at once."""
