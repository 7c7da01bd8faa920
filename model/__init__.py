"""The nets, and the way from an upload to what they read."""
