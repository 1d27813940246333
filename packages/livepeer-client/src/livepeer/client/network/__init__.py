"""Who can do it: directory, offers, the choice among them, and the jobs sent there."""
