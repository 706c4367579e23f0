"""Small programs that check the project itself."""
