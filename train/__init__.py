"""What makes the weights."""
