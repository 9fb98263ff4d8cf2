"""What a run is: its folder, its recipe, what its model takes and gives, and how it is opened again."""
