"""What laboratories publish of a mask: volumes, lengths, areas, places and intensities of its structures, as tables."""
