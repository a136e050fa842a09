"""The publisher's steps of a round."""
