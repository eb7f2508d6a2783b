//go:build unix

package cli_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gapless/gapless/ops/cli"
)

// The program can be run whole, with surroundings of one's own.
func ExampleMain_Run() {
	m := cli.Main{Version: "1.2.3", Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: os.Stdout, Stderr: os.Stdout}
	code := m.Run(context.Background(), []string{"relay", "--brokers", "127.0.0.1:9092"})
	fmt.Println("exit code", code)
	// Output:
	// gapless: --database-url is not set (nor GAPLESS_DATABASE_URL or DATABASE_URL) (see --help)
	// exit code 2
}

func ExampleValues() {
	env := map[string]string{"KAFKA_BROKERS": "kafka-1:9092"}
	values, err := cli.Values([]string{"relay", "--slot", "shop"}, func(name string) string { return env[name] })
	fmt.Println(values["slot"], values["publication"], values["brokers"], err)
	// Output: shop gapless [kafka-1:9092] <nil>
}
