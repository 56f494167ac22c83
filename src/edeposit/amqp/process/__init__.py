"""What a Unix process needs: pid file, control, signals, logs, notification. Knows no AMQP."""
