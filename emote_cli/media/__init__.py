"""Pictures, sound and video files; nothing learned."""
