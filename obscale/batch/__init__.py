"""How does a batch stand, how was it looked at beforehand, and what is told of it at the end?"""
