"""Search: the search space, the Optuna study, and the source of the queue's trials."""
