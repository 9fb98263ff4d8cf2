"""The recipe: every choice of a run, typed, read from TOML, changed on the command line, checked at once."""
