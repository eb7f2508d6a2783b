package notification

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"
)

// Security of the connection.
type Security string

// The kinds of security. Certificates are always verified.
const (
	// StartTLS upgrades the connection and refuses a server that cannot. The
	// default.
	StartTLS Security = "starttls"
	// TLS from the first byte (port 465).
	TLS Security = "tls"
	// Plain is for a relay on this machine. No password is sent over it, except
	// to localhost.
	Plain Security = "plain"
)

const defaultTimeout = 30 * time.Second

// SMTP is the server that takes the mail.
type SMTP struct {
	// Addr is host:port. Required.
	Addr string
	// Security; "" is StartTLS.
	Security Security
	// Username and Password for AUTH PLAIN; without a name there is no AUTH.
	Username, Password string
	// RootCAs that the server's certificate is checked against; nil means the
	// machine's.
	RootCAs *x509.CertPool
	// Hello is the name we give. Default localhost.
	Hello string
	// Timeout of the dialogue about one mail. Default 30 seconds.
	Timeout time.Duration
}

func (s *SMTP) validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(s.Addr); err != nil {
		errs = append(errs, fmt.Errorf("config: SMTP.Addr: %w", err))
	}
	switch s.Security {
	case "", StartTLS, TLS, Plain:
	default:
		errs = append(errs, fmt.Errorf("config: SMTP.Security %q is none of starttls, tls, plain", s.Security))
	}
	if s.Timeout < 0 {
		errs = append(errs, errors.New("config: SMTP.Timeout must not be negative"))
	}
	return errors.Join(errs...)
}

// session is one connection, greeted and authenticated.
type session struct {
	client  *smtp.Client
	conn    net.Conn
	timeout time.Duration
	stop    func() bool
}

// drain is what a mail under way is given once the sender is told to stop: cut
// off, its outcome would be unknown and it would be sent twice.
const drain = 5 * time.Second

// open connects. Once ctx ends the session has [drain] left.
func (s *SMTP) open(ctx context.Context) (_ *session, err error) {
	timeout := cmp.Or(s.Timeout, defaultTimeout)
	dialer := &net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to SMTP server: %w", err)
	}
	raw := conn
	stop := context.AfterFunc(ctx, func() {
		if raw.SetDeadline(time.Now().Add(drain)) != nil {
			raw.Close()
		}
	})
	defer func() {
		if err != nil {
			stop()
			conn.Close()
		}
	}()
	if err := extend(ctx, conn, timeout); err != nil {
		return nil, fmt.Errorf("connect to SMTP server: %w", err)
	}
	host, _, _ := net.SplitHostPort(s.Addr) // validated
	tlsConfig := &tls.Config{ServerName: host, RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
	if s.Security == TLS {
		conn = tls.Client(conn, tlsConfig)
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return nil, fmt.Errorf("greet SMTP server: %w", err)
	}
	if err := client.Hello(cmp.Or(s.Hello, "localhost")); err != nil {
		return nil, fmt.Errorf("greet SMTP server: %w", err)
	}
	if cmp.Or(s.Security, StartTLS) == StartTLS {
		if err := client.StartTLS(tlsConfig); err != nil {
			return nil, fmt.Errorf("start TLS with SMTP server: %w", err)
		}
	}
	if s.Username != "" {
		if err := client.Auth(smtp.PlainAuth("", s.Username, s.Password, host)); err != nil {
			return nil, fmt.Errorf("authenticate to SMTP server: %w", err)
		}
	}
	return &session{client: client, conn: conn, timeout: timeout, stop: stop}, nil
}

// extend gives the dialogue time, and no more than drain when ctx has ended
// just before: its own deadline would be overwritten here.
func extend(ctx context.Context, conn net.Conn, timeout time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return conn.SetDeadline(time.Now().Add(drain))
	}
	return nil
}

// close says goodbye, and does not wait long for the answer.
func (s *session) close() {
	s.stop()
	if s.conn.SetDeadline(time.Now().Add(time.Second)) == nil {
		s.client.Quit() //nolint:errcheck // the mails are settled already
	}
	s.conn.Close()
}

// refusedError is a 5xx about this mail: it will not be taken later either.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// unservedError is a server that takes no mail from us at all: nothing is wrong
// with this one.
type unservedError struct{ err error }

func (e *unservedError) Error() string { return e.err.Error() }
func (e *unservedError) Unwrap() error { return e.err }

// send hands one mail over and returns nil when the server has taken it. After
// an error that is no answer of the server the session is of no more use, and
// whether the mail was taken is unknown.
func (s *session) send(ctx context.Context, from, to string, text []byte) error {
	if err := extend(ctx, s.conn, s.timeout); err != nil {
		return err
	}
	if ok, _ := s.client.Extension("SMTPUTF8"); !ok && strings.IndexFunc(to, func(r rune) bool { return r > 127 }) >= 0 {
		return &refusedError{errors.New("the server takes no address outside ASCII")} // RFC 6531
	}
	if err := s.client.Mail(from); err != nil {
		return &unservedError{fmt.Errorf("MAIL FROM: %w", err)}
	}
	if err := s.client.Rcpt(to); err != nil {
		return refusal("RCPT TO", err)
	}
	w, err := s.client.Data()
	if err != nil {
		return refusal("DATA", err)
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	if err := w.Close(); err != nil {
		return refusal("send mail", err)
	}
	return nil
}

// reset readies the session for the next mail after a refusal.
func (s *session) reset() error { return s.client.Reset() }

func refusal(what string, err error) error {
	if answer, ok := errors.AsType[*textproto.Error](err); ok && answer.Code >= 500 {
		return &refusedError{fmt.Errorf("%s: %w", what, err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// compose writes the mail. The same row always gives the same bytes.
func compose(m mailRow, from, to string) ([]byte, error) {
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"Date", m.CreatedAt.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{"From", (&mail.Address{Address: from}).String()},
		{"To", (&mail.Address{Address: to}).String()},
		{"Subject", mime.QEncoding.Encode("utf-8", m.Subject)},
		{"Message-ID", "<" + m.MessageID + ">"},
		{"Auto-Submitted", "auto-generated"},
		{"MIME-Version", "1.0"},
		{"Content-Type", `text/plain; charset="utf-8"`},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(m.Body)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// recipient is the address of a customer: the id itself, or the id at domain.
// An id that would need quoting makes none; it was not meant as an address.
func recipient(customer, domain string) (string, error) {
	for _, address := range []string{customer, customer + "@" + domain} {
		a, err := mail.ParseAddress(address)
		if err == nil && a.Address == address && a.String() == "<"+address+">" {
			return address, nil
		}
	}
	return "", errors.New("the customer id makes no mail address")
}
