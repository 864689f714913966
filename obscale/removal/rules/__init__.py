"""The rules of a removal, by what they are about."""
