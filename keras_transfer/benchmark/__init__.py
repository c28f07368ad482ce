"""Compare the formats of a run on this machine: size, speed, memory and metric, each measured in a fresh process."""
