"""What a command line and a file of options say."""
