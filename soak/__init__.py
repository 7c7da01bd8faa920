"""What the service bears: hostile input, faults, load and time, each with its bar."""
