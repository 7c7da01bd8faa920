"""Makes sheets up: handwriting as photographed, scanned or drawn, with the ink known for every pixel."""
