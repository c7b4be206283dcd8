package capture

// Remembered is how many tokens are.
func (a *Authenticator) Remembered() int { return len(a.tokens.seen.m) }
