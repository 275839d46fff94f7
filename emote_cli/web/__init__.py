"""The page that `emote web` serves: the same jobs, checks and words as the command, in a browser."""
