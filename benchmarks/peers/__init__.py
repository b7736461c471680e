"""What the bench compares with: the same work done by other means, each in its own environment
(requirements/peers.lock), with nothing of forebay imported."""
