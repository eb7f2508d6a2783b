package saga

import "context"

// Expire moves every saga that is due, once.
func (s *Saga) Expire(ctx context.Context) error { return s.expire(ctx) }

// Whys that tests look for.
const (
	WhyFinal     = whyFinal
	WhyNotFlight = whyNotFlight
	WhyExists    = whyExists
	WhyMismatch  = whyMismatch
)
