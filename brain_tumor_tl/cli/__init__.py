"""Command line: one module for each verb, the configuration and its checks, and Hydra's launchers."""
