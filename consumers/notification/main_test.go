package notification_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/consumers/notification"
	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv("GAPLESS_TEST_SENDER") != "" {
		if err := sender(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

// sender is the process that a test kills.
func sender() error {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("GAPLESS_TEST_SENDER"))
	if err != nil {
		return err
	}
	return notification.New(notification.Config{
		Pool: pool, SMTP: &notification.SMTP{Addr: os.Getenv("GAPLESS_TEST_SMTP"), Security: notification.Plain},
	}).Run(ctx)
}
