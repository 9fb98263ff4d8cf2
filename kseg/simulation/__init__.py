"""A made-up leg: its anatomy, and the freehand-ultrasound sweep that images it."""
