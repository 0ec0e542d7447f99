"""What a convolution costs: formulas on paper, the report of a call, other tools' numbers.

Nothing here knows the loops, so that formula and measurement are two independent numbers.
"""
