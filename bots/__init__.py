"""Bots on a workspace of trainerlib: Telegram, and what every bot shares.

A bot is thin. It turns what happens on its platform into a `bots.port.Request`, gives that to `bots.dialogue` or
`bots.commands`, and shows the `bots.port.Say`s that come back. What a message means, who may do what and what is
answered is decided without knowing the platform.
"""
