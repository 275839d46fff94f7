"""One noise schedule, its objective, and the samplers that run on it."""
