"""A model and a data set from outside the package: what a user writes to add one."""
