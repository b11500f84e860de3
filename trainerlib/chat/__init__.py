"""Chat models behind one asynchronous, streaming port, each chosen by a name such as `openai:gpt-x` or `memory`."""
