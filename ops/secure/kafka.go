package secure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Mechanisms of SASL, as Kafka names them.
const (
	Plain       = "PLAIN"
	SCRAM256    = "SCRAM-SHA-256"
	SCRAM512    = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
	AWSMSKIAM   = "AWS_MSK_IAM"
)

// Mechanisms are all that Kafka knows.
var Mechanisms = []string{Plain, SCRAM256, SCRAM512, OAuthBearer, AWSMSKIAM}

// Kafka is how a client of Kafka shows who it is, and to whom it speaks.
type Kafka struct {
	TLS *TLS // nil: none

	Mechanism string // "" is none
	User      string
	Password  string // or
	// PasswordFile is read at each authentication; a line feed at its end does not
	// count.
	PasswordFile string
	// TokenFile of OAUTHBEARER is read at each authentication.
	TokenFile string
}

// Options are what a client needs. The files are read once, so that a wrong one is an
// error now.
func (k Kafka) Options() ([]kgo.Opt, error) {
	var options []kgo.Opt
	if k.TLS != nil {
		if _, err := k.TLS.Config(); err != nil {
			return nil, err
		}
		options = append(options, kgo.Dialer(k.TLS.Dial))
	}
	if k.Mechanism == "" {
		if k.User != "" || k.Password != "" || k.PasswordFile != "" || k.TokenFile != "" {
			return nil, fmt.Errorf("a user, a password or a token needs a SASL mechanism: one of %s", strings.Join(Mechanisms, ", "))
		}
		return options, nil
	}
	m, err := k.mechanism()
	if err != nil {
		return nil, err
	}
	return append(options, kgo.SASL(m)), nil
}

func (k Kafka) mechanism() (sasl.Mechanism, error) {
	scramming := k.Mechanism == SCRAM256 || k.Mechanism == SCRAM512
	if !slices.Contains(Mechanisms, k.Mechanism) {
		return nil, fmt.Errorf("SASL mechanism %q is none of %s", k.Mechanism, strings.Join(Mechanisms, ", "))
	}
	if k.TLS == nil && !scramming {
		return nil, fmt.Errorf("%s sends its secret as it is, so it needs TLS", k.Mechanism)
	}
	switch k.Mechanism {
	case OAuthBearer:
		if k.TokenFile == "" {
			return nil, errors.New("OAUTHBEARER needs a file with a token")
		}
		if _, err := Secret(k.TokenFile); err != nil {
			return nil, err
		}
		return bearer{oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := Secret(k.TokenFile)
			return oauth.Auth{Token: token}, err
		})}, nil
	case AWSMSKIAM:
		return awsMechanism(), nil
	}
	if k.User == "" {
		return nil, fmt.Errorf("%s needs a user", k.Mechanism)
	}
	if _, err := k.password(); err != nil {
		return nil, err
	}
	if k.Mechanism == Plain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := k.password()
			return plain.Auth{User: k.User, Pass: password}, err
		}), nil
	}
	auth := func(context.Context) (scram.Auth, error) {
		password, err := k.password()
		return scram.Auth{User: k.User, Pass: password}, err
	}
	if k.Mechanism == SCRAM256 {
		return scram.Sha256(auth), nil
	}
	return scram.Sha512(auth), nil
}

func (k Kafka) password() (string, error) {
	if k.PasswordFile != "" {
		return Secret(k.PasswordFile)
	}
	if k.Password == "" {
		return "", fmt.Errorf("%s needs a password, or a file with one", k.Mechanism)
	}
	return k.Password, nil
}

// maxSecret bounds a file that is read as a secret.
const maxSecret = 64 << 10

// Secret reads a file; a line feed at its end does not count.
func Secret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 || len(text) > maxSecret {
		return "", fmt.Errorf("read secret: %s has %d bytes", path, len(text))
	}
	return string(text), nil
}

// awsMechanism looks for credentials where AWS's own tools do: environment, profile,
// web identity, container, instance. They are fetched anew when they expire.
func awsMechanism() sasl.Mechanism {
	return aws.ManagedStreamingIAM(func(ctx context.Context) (aws.Auth, error) {
		found, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return aws.Auth{}, fmt.Errorf("load AWS configuration: %w", err)
		}
		c, err := found.Credentials.Retrieve(ctx)
		if err != nil {
			return aws.Auth{}, fmt.Errorf("retrieve AWS credentials: %w", err)
		}
		return aws.Auth{AccessKey: c.AccessKeyID, SecretKey: c.SecretAccessKey, SessionToken: c.SessionToken, UserAgent: "gapless"}, nil
	})
}
