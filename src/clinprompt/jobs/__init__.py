"""What a user can start: each job connects settings, tasks, models and results."""
