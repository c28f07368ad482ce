"""The formats of a run compared on this machine: size, speed, memory and metric, each measured in a fresh process."""
