//go:build unix

package cli_test

import (
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/internal/pgtest"
	program "github.com/gapless/gapless/ops/cli"
)

// composeFile is loaded as docker compose loads it, with no variable set: the
// defaults have to do.
func composeFile(t *testing.T) *types.Project {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	options, err := cli.NewProjectOptions([]string{path}, cli.WithWorkingDirectory(filepath.Dir(path)), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// ours are the services that run this program.
func ours(p *types.Project) []types.ServiceConfig {
	var list []types.ServiceConfig
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		if s := p.Services[name]; s.Build != nil {
			list = append(list, s)
		}
	}
	return list
}

func TestComposeCommandsParse(t *testing.T) {
	t.Parallel()
	services := ours(composeFile(t))
	if len(services) < 8 {
		t.Fatalf("%d services run this program", len(services))
	}
	for _, s := range services {
		env := map[string]string{}
		for name, value := range s.Environment {
			env[name] = *value
		}
		flags, err := program.Values(s.Command, func(name string) string { return env[name] })
		if err != nil {
			t.Errorf("%s: gapless %s: %v", s.Name, strings.Join(s.Command, " "), err)
			continue
		}
		for name := range env {
			// keys create is told by a flag which variable holds the key.
			if i := slices.Index(s.Command, "--key-from-env"); i >= 0 && s.Command[i+1] == name {
				continue
			}
			flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "GAPLESS_"), "_", "-"))
			if _, known := flags[flag]; !known || !strings.HasPrefix(name, "GAPLESS_") {
				t.Errorf("%s: %s is no flag of gapless %s", s.Name, name, strings.Join(s.Command, " "))
			}
		}
	}
}

// The services do not run as the owner: the statement that makes their logins works,
// twice, and each login may do its service's work and no other's.
func TestComposeLogins(t *testing.T) {
	t.Parallel()
	p := composeFile(t)
	command := p.Services["logins"].Command
	server := pgtest.Server(t, nil)
	pgtest.Migrate(t, server.SuperuserURL())
	admin := pgtest.OpenPool(t, server.SuperuserURL())
	for range 2 {
		if _, err := admin.Exec(t.Context(), command[len(command)-1]); err != nil {
			t.Fatal(err)
		}
	}
	for service, may := range map[string]string{"api": "checkout.orders", "relay": "gapless.relay_progress", "consumers": "gapless.inbox"} {
		u, err := url.Parse(*p.Services[service].Environment["GAPLESS_DATABASE_URL"])
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		if err := pgtest.OpenPool(t, server.UserURL(u.User.Username(), password, "postgres")).Ping(t.Context()); err != nil {
			t.Errorf("%s: log in: %v", service, err)
		}
		var can []string
		err = admin.QueryRow(t.Context(), `SELECT array_agg(t) FROM unnest(ARRAY['checkout.orders', 'gapless.relay_progress', 'gapless.inbox']) AS t
			WHERE has_table_privilege($1, t, 'INSERT')`, u.User.Username()).Scan(&can)
		if err != nil || !slices.Equal(can, []string{may}) {
			t.Errorf("%s writes %v, want %s; %v", service, can, may, err)
		}
	}
}

func TestComposeParseFindsMistakes(t *testing.T) {
	t.Parallel()
	none := func(string) string { return "" }
	for _, args := range [][]string{{"relay", "--no-such-flag"}, {"relays"}, {"topics", "apply", "--partitions", "x"}, {"keys", "create"}} {
		if _, err := program.Values(args, none); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	flags, err := program.Values([]string{"version"}, none)
	if _, has := flags["brokers"]; err != nil || has {
		t.Errorf("flags of version: %v, %v", flags, err)
	}
}

var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+[a-z0-9.-]*$`)

func TestComposeIsReproducibleAndPrivate(t *testing.T) {
	t.Parallel()
	p := composeFile(t)
	volumes := map[string]bool{}
	for name, s := range p.Services {
		switch {
		case s.Build != nil:
			if s.Image != "gapless:local" {
				t.Errorf("%s: image %s", name, s.Image)
			}
		case !pinned.MatchString(s.Image):
			t.Errorf("%s: image %s names no version", name, s.Image)
		}
		for _, port := range s.Ports {
			if a, err := netip.ParseAddr(port.HostIP); err != nil || !a.IsLoopback() {
				t.Errorf("%s: port %s is published on %q", name, port.Published, port.HostIP)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
					t.Errorf("%s: %s is not there, or can be written: %v", name, v.Source, err)
				}
			}
			if v.Type == types.VolumeTypeVolume {
				if v.Source == "" {
					t.Errorf("%s: volume at %s has no name", name, v.Target)
				}
				volumes[v.Source] = true
			}
		}
		for on, d := range s.DependsOn {
			dependency := p.Services[on]
			if d.Condition == types.ServiceConditionHealthy && dependency.HealthCheck == nil {
				t.Errorf("%s waits for %s to be healthy, which has no health check", name, on)
			}
			if d.Condition == types.ServiceConditionStarted {
				t.Errorf("%s waits for the mere start of %s", name, on)
			}
		}
	}
	for _, name := range []string{"postgres", "kafka", "registry"} {
		if p.Services[name].HealthCheck == nil {
			t.Errorf("%s has no health check", name)
		}
	}
	for _, name := range []string{"postgres", "kafka"} {
		if !volumes[name] {
			t.Errorf("%s keeps its data in no named volume", name)
		}
	}
	if dir := p.Services["kafka"].Environment["KAFKA_LOG_DIRS"]; dir == nil || *dir != p.Services["kafka"].Volumes[0].Target {
		t.Error("kafka writes beside its volume")
	}
	for name := range p.Volumes {
		if !volumes[name] {
			t.Errorf("volume %s is not used", name)
		}
	}
}

// Prometheus asks each service at the port that it is told to listen on.
func TestComposePrometheusAsksEachService(t *testing.T) {
	t.Parallel()
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(document(t, "deploy", "prometheus", "prometheus.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	for _, s := range config.ScrapeConfigs {
		for _, target := range s.StaticConfigs[0].Targets {
			asked[target] = true
		}
	}
	p := composeFile(t)
	listening := 0
	for _, s := range ours(p) {
		if i := slices.Index(s.Command, "--ops-listen"); i >= 0 {
			listening++
			if target := strings.Replace(s.Command[i+1], "0.0.0.0", s.Name, 1); !asked[target] {
				t.Errorf("Prometheus does not ask %s; it asks %v", target, asked)
			}
		}
	}
	if listening != 3 || len(asked) != listening {
		t.Errorf("%d services listen, %v are asked", listening, asked)
	}
	mounted := slices.ContainsFunc(p.Services["prometheus"].Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Target == "/etc/prometheus/"+config.RuleFiles[0] && filepath.Base(v.Source) == config.RuleFiles[0]
	})
	if len(config.RuleFiles) != 1 || !mounted {
		t.Errorf("the rules %v are not mounted", config.RuleFiles)
	}
}

func TestComposeServicesAreConfined(t *testing.T) {
	t.Parallel()
	for _, s := range ours(composeFile(t)) {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s runs with more than it needs", s.Name)
		}
	}
}
