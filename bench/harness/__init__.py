"""What bench/run is made of: the two contestants, the experiments, statistics and plots."""
