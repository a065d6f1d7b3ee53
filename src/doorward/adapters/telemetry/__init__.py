"""What the gateway says of itself: structured logs and Prometheus metrics. Neither ever holds a value from the data path."""
