"""Search: the search space, the Optuna study, and the trials that it feeds to the queue."""
