"""What judges an agent or a representation."""
