"""Sweeps of several runs: trained one after another or side by side, and compared."""
