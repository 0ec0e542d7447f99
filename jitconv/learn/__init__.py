"""Learning: the nine compared, exercises that check themselves, lessons on a photo, pictures."""
