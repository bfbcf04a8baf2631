"""Answers to prompts under several modes, side by side: on a terminal, and in a folder."""
