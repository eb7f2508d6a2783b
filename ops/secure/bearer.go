package secure

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/sasl"
)

// ErrToken is a token of OAUTHBEARER that the broker does not take.
var ErrToken = errors.New("the broker does not take the token")

// bearer is a mechanism that says what a broker says of its token (RFC 7628, 3.2.2):
// the library says only that there was an answer.
type bearer struct{ sasl.Mechanism }

// Authenticate is part of sasl.Mechanism.
func (b bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	session, first, err := b.Mechanism.Authenticate(ctx, host)
	return bearerSession{session}, first, err
}

type bearerSession struct{ sasl.Session }

// Challenge is part of sasl.Session.
func (s bearerSession) Challenge(answer []byte) (bool, []byte, error) {
	const most = 200
	if len(answer) > 0 {
		return false, nil, fmt.Errorf("%w: %.*s", ErrToken, most, answer)
	}
	return s.Session.Challenge(answer)
}
