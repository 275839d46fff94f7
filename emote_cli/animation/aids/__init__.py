"""Quality aids around the network: each makes up for something that a network of one step cannot do."""
