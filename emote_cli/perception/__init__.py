"""What is seen and heard: faces and speech."""
