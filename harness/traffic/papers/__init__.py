"""The comparisons of the traffic papers: which rows their tables have, and what trains and scores them."""
