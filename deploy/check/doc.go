// Package check holds the tests of deploy that need what the program does not: the types
// of Kubernetes, of the Prometheus operator and of Grafana, kustomize, and Prometheus' own
// parser.
//
// It is a module of its own, so that they are no dependencies of the program, and is run
// by .ci/deploy. What needs only the program is tested in ops/cli: that each command, flag
// and variable of the manifests exists, and that each series of alerts and dashboard is
// exported.
//
// A schema validator such as kubeconform fetches its schemas when it runs. The types
// here are those that the API server decodes into, and come with checksums.
package check
