"""What the admin's page shows, gathered from everywhere; the metrics tell the same."""
