"""What several families of adversaries share."""
