package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// secretFaults are what happens to passwords and certificates.
func secretFaults() []fault {
	return []fault{
		{name: "postgres-password", what: "the relay's password in Postgres changes, its connections end; it is started with the new one", make: postgresPassword},
		{name: "kafka-password", what: "the relay's SCRAM password in Kafka changes, its connections end; then its file has the new one", make: kafkaPassword, cold: true, flags: saslFlags},
		{name: "certificate-expired", what: "Kafka's certificate expires, the connections end; then there is a new one", make: certificateExpired, cold: true, flags: tlsFlags},
	}
}

// postgresPassword needs a start: here the URL is a variable, which is read once.
func postgresPassword(ctx context.Context, r *run) error {
	a := r.relay("a")
	fresh := fmt.Sprintf("password-%d-%d", r.seed, time.Now().UnixNano())
	r.begins()
	if _, err := r.db.Exec(ctx, "ALTER ROLE "+relayLogin+" PASSWORD '"+fresh+"'"); err != nil {
		return fmt.Errorf("change the password: %w", err)
	}
	defer func() { // the next run has the first one
		_, _ = r.db.Exec(context.WithoutCancel(ctx), "ALTER ROLE "+relayLogin+" PASSWORD '"+relayPassword+"'")
	}()
	if n := r.toPG.Reset(); n == 0 {
		return errors.New("the relay has no connection")
	}
	if err := r.says(ctx, a, "28P01"); err != nil {
		return err
	}
	if !a.Running() {
		return fmt.Errorf("the relay did not wait for the password: %w", a.Proc.Err())
	}
	r.proves("the server refused the old password (28P01)")
	if err := a.Stop(); err != nil {
		return err
	}
	r.password = fresh
	if _, err := r.launch(ctx, "a"); err != nil {
		return err
	}
	r.heals()
	if err := r.streams(ctx, a); err != nil {
		return err
	}
	return r.flows(ctx, 50)
}

const saslUser = "relay"

func (r *run) secretFile() string { return filepath.Join(r.dir, "secret") }

func saslFlags(r *run) []string {
	return []string{
		"--brokers", r.broker.toSASL.Addr(), "--kafka-sasl", "SCRAM-SHA-512", "--kafka-user", saslUser, "--kafka-password-file", r.secretFile(),
	}
}

func (r *run) setSCRAM(ctx context.Context, password string) error {
	answers, err := r.broker.admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{
		User: saslUser, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: password,
	}})
	if err := errors.Join(err, answers.Error()); err != nil {
		return fmt.Errorf("set a SCRAM password: %w", err)
	}
	return nil
}

func kafkaPassword(ctx context.Context, r *run) error {
	if err := errors.Join(r.setSCRAM(ctx, "yesterday"), os.WriteFile(r.secretFile(), []byte("yesterday\n"), 0o600)); err != nil {
		return err
	}
	a, err := r.start(ctx, "a")
	if err != nil {
		return err
	}
	if err := r.flows(ctx, 100); err != nil {
		return err
	}
	r.begins()
	if err := r.setSCRAM(ctx, "today"); err != nil {
		return err
	}
	if n := r.broker.toSASL.Reset(); n == 0 {
		return errors.New("the relay has no connection")
	}
	if err := r.says(ctx, a, "SASL_AUTHENTICATION_FAILED"); err != nil {
		return err
	}
	if err := pause(ctx, time.Duration(r.rng.IntN(2000))*time.Millisecond); err != nil {
		return err
	}
	r.proves("the broker refused the old password (SASL_AUTHENTICATION_FAILED)")
	err = os.WriteFile(r.secretFile(), []byte("today\n"), 0o600)
	r.heals()
	return err
}

func tlsFlags(r *run) []string {
	return []string{"--brokers", r.broker.toTLS.Addr(), "--kafka-ca", filepath.Join(r.dir, "ca.pem")}
}

func certificateExpired(ctx context.Context, r *run) error {
	papers := r.broker.papers
	if err := errors.Join(os.WriteFile(filepath.Join(r.dir, "ca.pem"), papers.authority, 0o600), papers.issue(5*time.Second)); err != nil {
		return err
	}
	issued := time.Now()
	a, err := r.start(ctx, "a")
	if err != nil {
		return err
	}
	if err := r.flows(ctx, 100); err != nil {
		return err
	}
	if err := pause(ctx, time.Until(issued.Add(5*time.Second))); err != nil {
		return err
	}
	refused := r.broker.toTLS.Counts().Refused
	r.begins()
	if n := r.broker.toTLS.Reset(); n == 0 {
		return errors.New("the relay has no connection")
	}
	if err := r.says(ctx, a, "certificate has expired"); err != nil {
		return err
	}
	if n := r.broker.toTLS.Counts().Refused - refused; n > 0 {
		r.proves("%d handshakes ended with \"certificate has expired\"", n)
	}
	err = papers.issue(time.Hour)
	r.heals()
	return err
}
