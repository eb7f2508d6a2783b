package outbox_test

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"log"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/outbox"
)

// database starts a Postgres with the schema of the outbox.
func database(ctx context.Context) (url string, stop func()) {
	server, err := pgserver.Start(ctx, pgserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: server.SuperuserURL(), Components: []string{"outbox"}}); err != nil {
		log.Fatal(err)
	}
	return server.SuperuserURL(), func() {
		if err := server.Stop(ctx); err != nil {
			log.Print(err)
		}
	}
}

// The change and its event are written in one transaction.
func ExampleAppend() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "create table users (id text, name text)"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "insert into users values ('u-1', 'Ada')"); err != nil {
			return err
		}
		return outbox.Append(ctx, tx, outbox.Event{
			AggregateType: "user", AggregateID: "u-1", AggregateVersion: 1,
			Type: "UserRegistered", Message: wrapperspb.String("Ada"),
		})
	})
	if err != nil {
		log.Fatal(err)
	}

	var payload string
	err = conn.QueryRow(ctx, "select type || ' ' || payload from gapless.outbox_readable").Scan(&payload)
	fmt.Println(payload, err)
	// Output: UserRegistered "Ada" <nil>
}

// The events travel with the statements around them: one round trip in all.
func ExampleWriter_Queue() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	writer := outbox.New(outbox.Config{})
	var batch pgx.Batch
	batch.Queue("begin")
	batch.Queue("create table users as select 'u-1' as id")
	err = writer.Queue(ctx, &batch, outbox.Event{AggregateType: "user", AggregateID: "u-1", Type: "UserRegistered"})
	if err != nil {
		log.Fatal(err) // an invalid event: nothing was sent
	}
	batch.Queue("commit")
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		log.Fatal(err)
	}

	var events int
	err = conn.QueryRow(ctx, "select count(*) from gapless.outbox").Scan(&events)
	fmt.Println(events, err)
	// Output: 1 <nil>
}

// The same through database/sql.
func ExampleAppendSQL() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	db, err := stdsql.Open("pgx", url)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	err = outbox.AppendSQL(ctx, tx, outbox.Event{AggregateType: "user", AggregateID: "u-1", Type: "UserDeleted"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tx.Commit())
	// Output: <nil>
}

// A mistake is found before anything is sent, and named.
func ExampleValidationError() {
	var batch pgx.Batch
	err := outbox.New(outbox.Config{}).Queue(context.Background(), &batch,
		outbox.Event{AggregateType: "user", AggregateID: "u-1", Type: "UserRegistered"},
		outbox.Event{AggregateType: "user", AggregateID: "u-1", Type: "UserRenamed", Headers: map[string]string{"ce_id": "7"}},
	)
	fmt.Println(err)
	// Output: outbox event 1: Headers["ce_id"] is a name that the relay computes itself
}

// Whoever handles a request names its trace once.
func ExampleWithHeaders() {
	ctx := outbox.WithHeaders(context.Background(), map[string]string{
		outbox.HeaderTraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	})
	fmt.Println(outbox.ContextHeaders(ctx)[outbox.HeaderTraceParent])
	// Output: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
}

func ExampleReserved() {
	fmt.Println(outbox.Reserved("ce_id"), outbox.Reserved("tenant"))
	// Output: true false
}
