"""Training of the nucleus network: network, targets and loss, simulated fields, crops, scores."""
