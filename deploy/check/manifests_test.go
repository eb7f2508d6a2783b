package check_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	yamljson "sigs.k8s.io/yaml"
)

// kinds are the types that our manifests are decoded into.
var kinds = map[string]func() metav1.Object{
	"apps/v1 Deployment":                      func() metav1.Object { return &appsv1.Deployment{} },
	"batch/v1 Job":                            func() metav1.Object { return &batchv1.Job{} },
	"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return &networkingv1.NetworkPolicy{} },
	"policy/v1 PodDisruptionBudget":           func() metav1.Object { return &policyv1.PodDisruptionBudget{} },
	"monitoring.coreos.com/v1 PodMonitor":     func() metav1.Object { return &monitoringv1.PodMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return &monitoringv1.PrometheusRule{} },
}

// decode reads documents of YAML, each into its type. A field that the type does not have
// is an error, and so is one that is given twice.
func decode(text []byte) (objects []metav1.Object, err error) {
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := r.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		var kind metav1.TypeMeta
		if err := yamljson.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		empty, ok := kinds[kind.APIVersion+" "+kind.Kind]
		if !ok {
			return nil, fmt.Errorf("kind %s %s is not known here", kind.APIVersion, kind.Kind)
		}
		object := empty()
		text, err := yamljson.YAMLToJSONStrict(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		// The API server's own decoder: encoding/json would take a field in another case.
		unknown, err := strict.UnmarshalStrict(text, object)
		if err := errors.Join(append(unknown, err)...); err != nil {
			return nil, fmt.Errorf("%s: %w", kind.Kind, err)
		}
		objects = append(objects, object)
	}
}

// build does what kubectl apply -k does before it sends anything.
func build(t *testing.T, fs filesys.FileSystem, path string) []metav1.Object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func k8s(parts ...string) string { return filepath.Join(append([]string{"..", "k8s"}, parts...)...) }

// pod is a pod of some object, with the name under which errors speak of it.
type pod struct {
	owner string
	corev1.PodTemplateSpec
}

func pods(objects []metav1.Object) (list []pod) {
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			list = append(list, pod{"deployment " + o.Name, o.Spec.Template})
		case *batchv1.Job:
			list = append(list, pod{"job " + o.Name, o.Spec.Template})
		}
	}
	return list
}

func (p pod) containers() []corev1.Container {
	return slices.Concat(p.Spec.InitContainers, p.Spec.Containers)
}

var pinnedImage = regexp.MustCompile(`^[a-z0-9./-]+(:(local|[0-9]+\.[0-9]+\.[0-9]+)|@sha256:.+)$`)

// podFaults tells what a pod has that it should not have, or names without having it.
func podFaults(p pod) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, p.owner+": "+fmt.Sprintf(format, args...))
	}
	if s := p.Spec.SecurityContext; s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.SeccompProfile == nil {
		fault("may run as root, or with every system call")
	}
	if a := p.Spec.AutomountServiceAccountToken; a == nil || *a {
		fault("has a token of the cluster")
	}
	volumes := map[string]bool{}
	for _, v := range p.Spec.Volumes {
		volumes[v.Name] = true
		if v.Secret == nil || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440 {
			fault("volume %s is no secret of its group alone", v.Name)
		}
	}
	for _, c := range p.containers() {
		s := c.SecurityContext
		if s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem || s.AllowPrivilegeEscalation == nil ||
			*s.AllowPrivilegeEscalation || s.Capabilities == nil || !slices.Contains(s.Capabilities.Drop, "ALL") {
			fault("%s runs with more than it needs", c.Name)
		}
		if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
			fault("%s says nothing of cpu or memory", c.Name)
		}
		for _, e := range c.Env {
			if e.Name != "GOMEMLIMIT" {
				continue
			}
			limit, err := resource.ParseQuantity(strings.TrimSuffix(e.Value, "B")) // Go's MiB is Mi here
			if err != nil || limit.Cmp(*c.Resources.Limits.Memory()) >= 0 {
				fault("%s: GOMEMLIMIT %s is not below the limit of memory", c.Name, e.Value)
			}
		}
		if !pinnedImage.MatchString(c.Image) {
			fault("%s: image %s names no version", c.Name, c.Image)
		}
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] || !m.ReadOnly {
				fault("%s: volume %s is not there, or can be written", c.Name, m.Name)
			}
		}
		ports := map[string]bool{}
		for _, port := range c.Ports {
			ports[port.Name] = true
		}
		for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if probe != nil && (probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.String()]) {
				fault("%s: a probe asks a port that is not there", c.Name)
			}
		}
		if l := c.LivenessProbe; l != nil && l.HTTPGet != nil && l.HTTPGet.Path != "/livez" {
			fault("%s: liveness asks %s, which may depend on others", c.Name, l.HTTPGet.Path)
		}
	}
	return faults
}

// selectorFaults tells which selectors choose no pod, or no port of it.
func selectorFaults(t *testing.T, objects []metav1.Object) (faults []string) {
	t.Helper()
	chosen := func(s *metav1.LabelSelector) (list []pod) {
		selector, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods(objects) {
			if selector.Matches(labels.Set(p.Labels)) {
				list = append(list, p)
			}
		}
		return list
	}
	ports := func(list []pod) (names []string, numbers []int32) {
		for _, p := range list {
			for _, c := range p.containers() {
				for _, port := range c.Ports {
					names, numbers = append(names, port.Name), append(numbers, port.ContainerPort)
				}
			}
		}
		return names, numbers
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *appsv1.Deployment:
			if len(chosen(o.Spec.Selector)) != 1 {
				faults = append(faults, "deployment "+o.Name+" does not choose its own pods alone")
			}
			for _, c := range o.Spec.Template.Spec.TopologySpreadConstraints {
				if len(chosen(c.LabelSelector)) != 1 {
					faults = append(faults, "deployment "+o.Name+" is not spread")
				}
			}
		case *policyv1.PodDisruptionBudget:
			if len(chosen(o.Spec.Selector)) != 1 {
				faults = append(faults, "budget "+o.Name+" is of no pods")
			}
		case *networkingv1.NetworkPolicy:
			list := chosen(&o.Spec.PodSelector)
			if len(list) != len(pods(objects)) {
				faults = append(faults, "policy "+o.Name+" leaves pods out")
			}
			_, numbers := ports(list)
			for _, rule := range o.Spec.Ingress {
				for _, port := range rule.Ports {
					if !slices.Contains(numbers, port.Port.IntVal) {
						faults = append(faults, "policy "+o.Name+" lets in to a port that is not there")
					}
				}
			}
		case *monitoringv1.PodMonitor:
			list := chosen(&o.Spec.Selector)
			names, _ := ports(list)
			for _, e := range o.Spec.PodMetricsEndpoints {
				if e.Port == nil || !slices.Contains(names, *e.Port) || e.Path != "/metrics" {
					faults = append(faults, "monitor "+o.Name+" asks a port that is not there")
				}
			}
			for _, p := range list {
				if p.Labels[o.Spec.JobLabel] == "" {
					faults = append(faults, "monitor "+o.Name+": no job in "+o.Spec.JobLabel)
				}
			}
		}
	}
	return faults
}

func kindsOf(objects []metav1.Object) (list []string) {
	for _, o := range objects {
		list = append(list, strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1."))
	}
	slices.Sort(list)
	return list
}

func TestBase(t *testing.T) {
	t.Parallel()
	objects := build(t, filesys.MakeFsOnDisk(), k8s("base"))
	want := []string{"Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule"}
	if got := kindsOf(objects); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	judge(t, objects)
	relay := objects[slices.IndexFunc(objects, func(o metav1.Object) bool { return o.GetName() == "gapless-relay" })]
	d, ok := relay.(*appsv1.Deployment)
	if !ok {
		t.Fatalf("gapless-relay is a %T", relay)
	}
	c := d.Spec.Template.Spec.Containers[0]
	if *d.Spec.Replicas != 2 || c.ReadinessProbe == nil || c.LivenessProbe == nil || *d.Spec.Template.Spec.TerminationGracePeriodSeconds < 10 {
		t.Error("no standby, no probes, or no time to stop")
	}
}

func TestSidecar(t *testing.T) {
	t.Parallel()
	objects := build(t, filesys.MakeFsOnDisk(), k8s("sidecar"))
	if got, want := kindsOf(objects), []string{"Deployment", "PodMonitor", "PrometheusRule"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	judge(t, objects)
	for _, o := range objects {
		d, ok := o.(*appsv1.Deployment)
		if !ok {
			continue
		}
		if *d.Spec.Replicas != 1 || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
			t.Error("two pods would ask for one slot")
		}
		init := d.Spec.Template.Spec.InitContainers
		relay := init[len(init)-1]
		if relay.RestartPolicy == nil || *relay.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			t.Error("the relay is no sidecar: the application would wait for its end")
		}
		if relay.ReadinessProbe != nil || relay.StartupProbe != nil {
			t.Error("the application's readiness or start depends on the relay's")
		}
	}
}

// The overlay in README.md is one that works.
func TestOverlay(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(k8s("README.md"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindSubmatch(readme)
	if overlay == nil {
		t.Fatal("no overlay in README.md")
	}
	fs := filesys.MakeFsInMemory()
	for _, dir := range []string{"base", "rules"} {
		entries, err := os.ReadDir(k8s(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			text, err := os.ReadFile(k8s(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			if err := fs.WriteFile(filepath.Join("/k8s", dir, e.Name()), text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := fs.WriteFile("/k8s/shop/kustomization.yaml", overlay[1]); err != nil {
		t.Fatal(err)
	}
	objects := build(t, fs, "/k8s/shop")
	judge(t, objects)
	for _, p := range pods(objects) {
		if !strings.HasPrefix(p.containers()[0].Image, "registry.internal/gapless@sha256:") || p.Labels["app.kubernetes.io/instance"] != "shop" {
			t.Errorf("%s: image %s, labels %v", p.owner, p.containers()[0].Image, p.Labels)
		}
		for _, e := range p.containers()[0].Env {
			if e.Name == "GAPLESS_BROKERS" && e.Value != "kafka-0.kafka:9093,kafka-1.kafka:9093" {
				t.Errorf("%s: brokers %s", p.owner, e.Value)
			}
		}
	}
}

func judge(t *testing.T, objects []metav1.Object) {
	t.Helper()
	for _, p := range pods(objects) {
		for _, fault := range podFaults(p) {
			t.Error(fault)
		}
	}
	for _, fault := range selectorFaults(t, objects) {
		t.Error(fault)
	}
}

// Each mistake is made in the manifests as they are, and has to be found.
func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	read := func(parts ...string) string {
		text, err := os.ReadFile(k8s(parts...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	whole := strings.ReplaceAll(strings.Join([]string{
		read("base", "relay.yaml"), read("base", "migrate.yaml"), read("base", "networkpolicy.yaml"), read("base", "podmonitor.yaml"),
	}, "\n---\n"), "image: gapless", "image: gapless:local")
	whole = strings.Replace(whole, "jobLabel: app.kubernetes.io/instance", "jobLabel: app.kubernetes.io/name", 1) // kustomize adds the other
	for _, m := range []struct{ old, new, want string }{
		{"", "", ""},
		{"replicas: 2", "replica: 2", `unknown field "spec.replica"`},
		{"readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "unknown field"},
		{"replicas: 2", "replicas: two", "cannot unmarshal"},
		{"replicas: 2", "replicas: 2\n  replicas: 3", "already set"},
		{"apiVersion: policy/v1", "apiVersion: policy/v1beta1", "is not known here"},
		{"scrapeClassicHistograms: true", "scrapeClassicHistogram: true", "unknown field"},
		{"path: /livez, port: ops", "path: /livez, port: opps", "a probe asks a port"},
		{"path: /livez", "path: /readyz", "liveness asks /readyz"},
		{"name: secrets, mountPath", "name: secret, mountPath", "is not there"},
		{"runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		{"drop: [ALL]", "drop: [NET_RAW]", "runs with more"},
		{"image: gapless:local", "image: gapless:latest", "names no version"},
		{"limits: {memory: 256Mi}", "limits: {}", "says nothing of cpu or memory"},
		{"value: 200MiB", "value: 256MiB", "is not below the limit"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		{"matchLabels: {app.kubernetes.io/name: gapless-relay}", "matchLabels: {app.kubernetes.io/name: relay}", "does not choose"},
		{"values: [gapless-relay, gapless-migrate]", "values: [gapless-relay]", "leaves pods out"},
		{"port: 9082", "port: 9081", "lets in to a port"},
		{"- port: ops", "- port: metrics", "asks a port that is not there"},
	} {
		text := strings.Replace(whole, m.old, m.new, 1)
		if text == whole && m.old != "" {
			t.Errorf("%q is not in the manifests", m.old)
		}
		objects, err := decode([]byte(text))
		found := []string{fmt.Sprint(err)}
		if err == nil {
			found = selectorFaults(t, objects)
			for _, p := range pods(objects) {
				found = append(found, podFaults(p)...)
			}
		}
		if all := strings.Join(found, "; "); m.want == "" && all != "" || !strings.Contains(all, m.want) {
			t.Errorf("%q for %q: found %q, want %q", m.new, m.old, all, m.want)
		}
	}
}
