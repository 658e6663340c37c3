"""What to build: design spaces, objectives, search and studies."""
