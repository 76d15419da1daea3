"""Speed of the package beside what the machine can do and beside its peers; README.md holds the figures."""
