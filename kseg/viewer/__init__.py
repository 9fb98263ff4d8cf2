"""A page to look at scans and masks in: what it shows, its copies of volumes, its server, and itself in one file."""
