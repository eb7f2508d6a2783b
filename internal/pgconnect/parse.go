package pgconnect

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNoURL says nothing of what the driver says: that may hold the password.
var ErrNoURL = errors.New("no URL (postgres://user:password@host:port/database) or keyword string that Postgres takes; " +
	"special characters in a password are percent-encoded")

// Parse is pgxpool.ParseConfig with an error that holds nothing of text but the names
// of files. A database of another encoding is spoken to in UTF-8, which the driver
// assumes and does not ask for.
func Parse(text string) (*pgxpool.Config, error) {
	c, err := pgxpool.ParseConfig(text)
	if err == nil {
		c.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
		return c, nil
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, file
	}
	// A certificate or a mode that cannot be used: only names and kinds of what is in
	// the files.
	if cause := errors.Unwrap(err); cause != nil && strings.HasSuffix(err.Error(), ": failed to configure TLS ("+cause.Error()+")") {
		return nil, fmt.Errorf("configure TLS: %w", cause)
	}
	return nil, ErrNoURL
}

// With returns text with a parameter more, which counts in place of one of that name
// before it.
func With(text, name, value string) string {
	_, rest, isURL := strings.Cut(text, "://")
	if !isURL || !strings.HasPrefix(text, "postgres") {
		return text + " " + name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' { // as the driver finds the user's part
		rest = rest[i+1:]
	}
	separator := "?"
	if _, query, ok := strings.Cut(rest, "?"); ok {
		separator = "&"
		if query == "" || strings.HasSuffix(query, "&") {
			separator = ""
		}
	}
	// libpq decodes percents alone, no plus.
	return text + separator + name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}
