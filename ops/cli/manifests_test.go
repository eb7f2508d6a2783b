//go:build unix

package cli_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/ops/cli"
)

// container is what a test needs of one in deploy/k8s. Whether the rest is what
// Kubernetes takes is judged in deploy/check.
type container struct {
	Name         string   `yaml:"name"`
	Image        string   `yaml:"image"`
	Args         []string `yaml:"args"`
	Env          []struct{ Name, Value string }
	Ports        []port  `yaml:"ports"`
	VolumeMounts []mount `yaml:"volumeMounts"`
}

type port struct {
	Container int `yaml:"containerPort"`
}

type mount struct {
	Path string `yaml:"mountPath"`
}

type manifest struct {
	Kind     string                `yaml:"kind"`
	Metadata struct{ Name string } `yaml:"metadata"`
	Spec     struct {
		Template struct {
			Spec struct {
				InitContainers []container `yaml:"initContainers"`
				Containers     []container `yaml:"containers"`
			} `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

func manifests(t *testing.T) (all []manifest) {
	t.Helper()
	root := filepath.Join("..", "..", "deploy", "k8s")
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for d := yaml.NewDecoder(f); ; {
			var m manifest
			if err := d.Decode(&m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			all = append(all, m)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// faults tells what of a container's command this program does not have. secret is a
// file that stands for those that are mounted.
func (c container) faults(secret string) (faults []string) {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if !strings.HasSuffix(e.Name, "_FILE") {
			continue
		}
		env[e.Name] = secret
		if !slices.ContainsFunc(c.VolumeMounts, func(m mount) bool { return strings.HasPrefix(e.Value, m.Path+"/") }) {
			faults = append(faults, fmt.Sprintf("%s: nothing is mounted at %s", e.Name, e.Value))
		}
	}
	flags, err := cli.Values(c.Args, func(name string) string { return env[name] })
	if err != nil {
		return append(faults, err.Error())
	}
	delete(env, "GOMEMLIMIT") // is Go's
	for name := range env {
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "GAPLESS_"), "_", "-"))
		_, known := flags[flag]
		_, file := flags[strings.TrimSuffix(flag, "-file")]
		if !strings.HasPrefix(name, "GAPLESS_") || !known && !file {
			faults = append(faults, fmt.Sprintf("%s is no variable of gapless %s", name, strings.Join(c.Args, " ")))
		}
	}
	for _, p := range c.Ports {
		if want := fmt.Sprintf(":%d", p.Container); flags["ops-listen"] != want {
			faults = append(faults, fmt.Sprintf("port %s is named, and --ops-listen is %s", want, flags["ops-listen"]))
		}
	}
	return faults
}

func TestManifestsRunWhatThereIs(t *testing.T) {
	t.Parallel()
	secret := write(t, "secret", "postgres://u@h/d")
	ran := map[string]int{}
	for _, m := range manifests(t) {
		spec := m.Spec.Template.Spec
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			if c.Image != "gapless" {
				continue
			}
			ran[strings.Join(c.Args[:2], " ")]++
			for _, fault := range c.faults(secret) {
				t.Errorf("%s %s, container %s: %s", m.Kind, m.Metadata.Name, c.Name, fault)
			}
		}
	}
	if ran["relay run"] != 2 || ran["migrate up"] != 2 {
		t.Errorf("commands %v", ran)
	}
}

func TestManifestCheckFindsMistakes(t *testing.T) {
	t.Parallel()
	secret := write(t, "secret", "postgres://u@h/d")
	for text, want := range map[string]string{
		"args: [relay, run]": "",
		"args: [relay, run, --ops-listen, \":9082\"]\nports: [{containerPort: 9082}]": "",
		"args: [relay, runs]":                                                                                   "unexpected argument",
		"args: [relay, run, --ops-listens, x]":                                                                  "unknown flag",
		"args: [relay, run]\nenv: [{name: GAPLESS_SLOTS, value: x}]":                                            "GAPLESS_SLOTS is no variable",
		"args: [migrate, up]\nenv: [{name: GAPLESS_BROKERS, value: x}]":                                         "GAPLESS_BROKERS is no variable",
		"args: [relay, run]\nenv: [{name: GAPLESS_DATABASE_URL_FILE, value: /run/x}]":                           "nothing is mounted",
		"args: [relay, run]\nports: [{containerPort: 9082}]":                                                    "--ops-listen is 127.0.0.1:9082",
		"args: [relay, run, --ops-listen, \":9083\"]\nports: [{containerPort: 9082}]":                           "--ops-listen is :9083",
		"args: [relay, run]\nenv: [{name: GAPLESS_X_FILE, value: /s/x}]\nvolumeMounts: [{mountPath: /s}]":       "GAPLESS_X_FILE is no variable",
		"args: [relay, run]\nenv: [{name: GAPLESS_BROKERS_FILE, value: /s/x}]\nvolumeMounts: [{mountPath: /s}]": "",
	} {
		var c container
		if err := yaml.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		faults := c.faults(secret)
		if want == "" && len(faults) > 0 || want != "" && (len(faults) != 1 || !strings.Contains(faults[0], want)) {
			t.Errorf("%s: %q, want %q", text, faults, want)
		}
	}
}

// The operator's rules are the file that promtool tests.
func TestPrometheusRuleIsTheRulesFile(t *testing.T) {
	t.Parallel()
	var rules struct{ Groups any }
	var resource struct {
		Kind string
		Spec struct{ Groups any }
	}
	if err := yaml.Unmarshal([]byte(document(t, "deploy", "prometheus", "gapless.rules.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(document(t, "deploy", "k8s", "rules", "prometheusrule.yaml")), &resource); err != nil {
		t.Fatal(err)
	}
	if resource.Kind != "PrometheusRule" || rules.Groups == nil || fmt.Sprint(rules.Groups) != fmt.Sprint(resource.Spec.Groups) {
		t.Error("prometheusrule.yaml is not what gapless.rules.yaml says: run bash .ci/generate")
	}
}
