"""The limits of calls: the rate, the slots, the breaker and the retries."""
