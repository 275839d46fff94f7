"""EMO's network. Start reading at `emo.py`."""
