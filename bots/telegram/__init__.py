"""The Telegram bot of a workspace. aiogram is imported where it is needed: that takes seconds."""
