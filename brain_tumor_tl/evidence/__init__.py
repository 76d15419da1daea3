"""Evidence: what a person looks at. It takes plain arrays and dicts, and knows nothing of model or data."""
