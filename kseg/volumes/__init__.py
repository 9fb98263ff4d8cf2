"""Volumes as files hold them and as kseg computes with them: geometry, reading, writing, labels, cases."""
