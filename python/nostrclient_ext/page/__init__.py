"""What the admin's page and the metrics show."""
