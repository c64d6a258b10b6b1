"""What holds calls back: the rate, the slots, the breaker, and when to try again."""
