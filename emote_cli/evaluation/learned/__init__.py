"""Measures that published networks make (`emote download metrics`): FID, FVD, SyncNet's LSE-C and LSE-D."""
