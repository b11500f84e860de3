"""Trainers behind one port: OpenAI's API, this machine, a bundle for elsewhere, and whatever an entry point adds."""
