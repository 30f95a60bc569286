"""Stand-ins: files in a data set's own format, made here, for machines that cannot get the data set."""
