"""What may be asked for: models, policies, form and time limits."""
