"""Running a service: its configuration and client, and the commands that start, manage and use it."""
