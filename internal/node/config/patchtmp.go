package config

// validate reports what no configuration can hold.
func (c Change) validate() error { return nil }
