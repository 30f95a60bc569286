"""Which data are stand-ins: the modules that read data say it of them, and the tables of results keep them apart."""

STAND_INS = ("motions", "mnist_5k", "scenes")  # data of which nobody but this project has numbers
