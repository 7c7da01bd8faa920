"""What puts a service under load: the benchmark, the rehearsal and its dashboard."""
