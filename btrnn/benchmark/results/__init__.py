"""What is varied and what came of it.

settings   what is varied                    records             the CSV files
costs      flops, bytes, complexity laws     targets             what is asked of the numbers
exponents  how times grow with a shape       tables              the CSV files as rows of text
"""
