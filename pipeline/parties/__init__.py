"""What we say to others over HTTP; their errors are mapped to ours here."""
