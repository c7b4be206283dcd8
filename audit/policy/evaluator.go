package policy

// Evaluator decides what a policy makes of a request. It is made once, by
// [Compile], and may be used by many goroutines at a time.
type Evaluator struct {
	policy *Policy
}

// Compile makes p ready for many decisions. p must not be changed afterwards.
func Compile(p *Policy) *Evaluator { return &Evaluator{policy: p} }

// Decide is what the policy makes of a request. It does not allocate.
func (e *Evaluator) Decide(a *Attributes) Decision { return e.policy.decide(a) }
