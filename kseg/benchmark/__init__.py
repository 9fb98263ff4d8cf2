"""What kseg costs on a machine: counted by hand, and measured beside a baseline in one run."""
