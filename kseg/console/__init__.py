"""What every command shares with its user: errors, arguments, progress."""
