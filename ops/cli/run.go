package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/gapless/gapless/internal/terminal"
)

// Exit codes of the program.
const (
	ExitOK      = 0
	ExitFailed  = 1
	ExitUsage   = 2
	ExitRefused = 3
)

// Main is the program with everything that it takes from its surroundings.
type Main struct {
	Version string
	Getenv  func(string) string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// errBroken ends a command whose report has said already what is wrong.
var errBroken = errors.New("")

// listenError is about an address that only one flag gives.
type listenError struct {
	error
	flag string
}

func (e listenError) Unwrap() error { return e.error }

// usageError is the user's mistake in flags, environment or file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run parses args, runs the command until it is done or ctx ends, and returns
// the exit code. It may be called several times in one process.
func (m Main) Run(ctx context.Context, args []string) int {
	line, c := pruned(args)
	exited := -1
	values := newResolver(args, m.Getenv)
	parser := grammar(line, values, kong.Writers(m.Stdout, m.Stderr), kong.Exit(func(code int) { exited = code }), kong.Vars{"version": versionLine(m.Version)})
	if err := values.load(); err != nil {
		return m.fail(err)
	}
	k, err := parser.Parse(args)
	if exited >= 0 {
		return exited // --help or --version
	}
	if err != nil {
		return m.fail(usageError{err})
	}
	env, err := m.env(*c)
	if err != nil {
		return m.fail(err)
	}
	env.file = values.file
	k.BindTo(ctx, (*context.Context)(nil))
	k.Bind(env)
	err = k.Run()
	if ended, ok := errors.AsType[*endedError](err); ok && c.LogFormat == "json" {
		return ended.code() // each was a record when it ended
	}
	if r, ok := errors.AsType[refusal](err); ok && c.LogFormat == "json" {
		// A program reads: one record, and no lines for a person after it.
		env.log.ErrorContext(ctx, "refused", "what", err.Error(), "remedy", r.Refusal(), "sql", statementsOf(err))
		return ExitRefused
	}
	return m.fail(err)
}

// grammar is the command line, in full with *commands.
func grammar(line any, values *resolver, options ...kong.Option) *kong.Kong {
	parser, err := kong.New(line, append(options,
		kong.Name("gapless"),
		kong.Description("Transactional outbox for Postgres and Kafka: events leave with the transaction that made them, and take effect once."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ValueFormatter(describeFlag),
		kong.Help(help),
		kong.Resolvers(values),
	)...)
	if err != nil {
		panic(err) // a malformed command table, found by any test
	}
	return parser
}

// help prints, below a command's own help, that of the command which it runs by
// default: the flags that people look for are that one's.
func help(options kong.HelpOptions, k *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, k); err != nil {
		return err
	}
	selected := k.Selected()
	if selected == nil || selected.DefaultCmd == nil {
		return nil
	}
	path := selected.Path() + " " + selected.DefaultCmd.Name
	byDefault, err := kong.Trace(k.Kong, strings.Fields(path))
	if err != nil {
		return err
	}
	fmt.Fprintf(k.Stdout, "\nWithout a command it is 'gapless %s':\n\n", path)
	return kong.DefaultHelpPrinter(options, byDefault)
}

// Values checks a command line and returns the flags of its command with the
// values that it would run with, without running it: for tests of files that
// hold command lines.
func Values(args []string, getenv func(string) string) (map[string]string, error) {
	values := newResolver(args, getenv)
	if err := values.load(); err != nil {
		return nil, err
	}
	line, _ := pruned(args)
	k, err := grammar(line, values, kong.Writers(io.Discard, io.Discard)).Parse(args)
	if err != nil {
		return nil, err
	}
	flags := map[string]string{}
	for _, f := range k.Flags() {
		value := k.FlagValue(f)
		if s, ok := value.(secret); ok {
			if value, err = s.now(); err != nil {
				return nil, err
			}
		}
		flags[f.Name] = fmt.Sprint(value)
	}
	return flags, nil
}

// userinfo is the part of a URL that may hold a password. A person may give one where
// none is looked for, and is then told of it.
var userinfo = regexp.MustCompile(`(\w+://)\S*@`)

// fail prints what explain says of err and returns its exit code.
func (m Main) fail(err error) int {
	if err == nil {
		return ExitOK
	}
	code, text := explain(err)
	text = terminal.Lines(userinfo.ReplaceAllString(text, "$1…@")) // it may cite a server
	if text != "" {
		fmt.Fprintf(m.Stderr, "gapless: %s\n", text)
	}
	return code
}

// env is what every command is given.
type env struct {
	version string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	getenv  func(string) string
	log     *slog.Logger
	verbose bool
	file    *File
}

func (m Main) env(g Globals) (*env, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.LogLevel)); err != nil {
		return nil, usage("--log-level: %q is none of debug, info, warn, error", g.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: withUnit}
	var handler slog.Handler = slog.NewTextHandler(m.Stderr, options)
	if g.LogFormat == "json" || g.LogFormat == "auto" && !isTerminal(m.Stderr) {
		handler = slog.NewJSONHandler(m.Stderr, options)
	}
	return &env{
		version: m.Version, stdin: m.Stdin, stdout: m.Stdout, stderr: m.Stderr,
		getenv: m.Getenv, log: slog.New(handler), verbose: level < slog.LevelInfo,
	}, nil
}

// withUnit writes durations with their unit, which JSON would not.
func withUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// quiet is the logger of a command that talks to a person: warnings only, unless
// more was asked for.
func (e *env) quiet() *slog.Logger {
	if e.verbose {
		return e.log
	}
	return slog.New(atLeast{e.log.Handler(), slog.LevelWarn})
}

// atLeast is a handler that passes nothing below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}

func (h atLeast) WithAttrs(a []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(a), h.level}
}

func (h atLeast) WithGroup(n string) slog.Handler { return atLeast{h.Handler.WithGroup(n), h.level} }

// describeFlag adds the environment variable to a flag's help.
func describeFlag(v *kong.Value) string {
	if v.Flag == nil || v.Flag.Name == "help" || commandLineOnly(v.Flag) {
		return v.Help
	}
	return strings.TrimSpace(v.Help + " ($" + variable(v.Flag.Name) + ")")
}
