"""How fast is obscale, beside the official SDK and beside the ideal, on this machine?"""
