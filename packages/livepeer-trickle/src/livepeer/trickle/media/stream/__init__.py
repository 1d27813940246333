"""What a live subscriber and publisher are made of: threads, queues, and a pace."""
