package schema

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Check compares the contracts with those of a registry or a directory. Breaks
// are in the report ([Report.Err] makes an error of them); an error says that
// the comparison could not be made. It changes nothing.
func Check(ctx context.Context, c Config) (Report, error) {
	report, err := Diff(ctx, c)
	for i := range report.Contracts {
		changes := report.Contracts[i].Changes
		report.Contracts[i].Changes = slices.DeleteFunc(changes, func(ch Change) bool { return !ch.Breaking })
	}
	return report, err
}

// Diff is [Check] with the changes that break nothing as well.
func Diff(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	ours, err := compileFS(ctx, c.Protos)
	if err != nil {
		return Report{}, err
	}
	if c.Dir != "" {
		return diffDir(ctx, c, ours)
	}
	cl, closeIdle, err := c.client()
	if err != nil {
		return Report{}, err
	}
	defer closeIdle()
	report, err := diffRegistry(ctx, c, cl, ours)
	return report, err
}

func diffDir(ctx context.Context, c Config, ours source) (Report, error) {
	report := Report{Against: c.Dir}
	theirs, err := openDir(ctx, c.Dir)
	if err != nil {
		return report, err
	}
	for _, contract := range c.Contracts {
		after := ours.message(contract.Message)
		if after == nil {
			return report, unknownMessage(contract)
		}
		r := ContractReport{Subject: contract.Subject, Message: contract.Message, Status: StatusNew}
		if before := theirs.message(contract.Message); before != nil {
			r.compare(before, after, c.Compatibility)
		}
		report.Contracts = append(report.Contracts, r)
	}
	for _, name := range theirs.messages() {
		if ours.message(name) == nil {
			report.Contracts = append(report.Contracts, removedContract("", name))
		}
	}
	return report, nil
}

func diffRegistry(ctx context.Context, c Config, cl *sr.Client, ours source) (Report, error) {
	report := Report{Against: c.RegistryURL}
	for _, contract := range c.Contracts {
		after := ours.message(contract.Message)
		if after == nil {
			return report, unknownMessage(contract)
		}
		path := after.ParentFile().Path()
		r := ContractReport{Subject: contract.Subject, Message: contract.Message, Status: StatusNew}
		theirs, version, found, err := fetch(ctx, cl, contract.Subject, path)
		if err != nil {
			return report, err
		}
		if found {
			r.Version = version
			before := theirs.message(contract.Message)
			if before == nil {
				return report, fmt.Errorf("subject %s holds no message %s", contract.Subject, contract.Message)
			}
			r.compare(before, after, c.Compatibility)
			if err := verdict(ctx, c, cl, contract, ours, after, &r); err != nil {
				return report, err
			}
		}
		report.Contracts = append(report.Contracts, r)
	}
	gone, err := removedSubjects(ctx, c, cl)
	if err != nil {
		return report, err
	}
	report.Contracts = append(report.Contracts, gone...)
	return report, nil
}

func (r *ContractReport) compare(before, after protoreflect.MessageDescriptor, level Compatibility) {
	r.Changes = Compare(before, after, level)
	r.Status = StatusUnchanged
	for _, ch := range r.Changes {
		if r.Status == StatusUnchanged {
			r.Status = StatusChanged
		}
		if ch.Breaking {
			r.Status = StatusBroken
		}
	}
}

// verdict asks the registry, too: it may be stricter than we are, and it is the
// one who refuses at Register. A registry cannot judge a text whose imports it
// does not have yet in this form; it then does so when they are registered.
func verdict(ctx context.Context, c Config, cl *sr.Client, contract Contract, ours source, after protoreflect.MessageDescriptor, r *ContractReport) error {
	s, known, err := knownSchema(ctx, cl, ours, after.ParentFile())
	if err != nil || !known {
		return err
	}
	if _, err := cl.LookupSchema(ctx, contract.Subject, s); err == nil {
		return nil // this very text was accepted before
	}
	result, err := cl.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), contract.Subject, -1, s)
	if err != nil {
		if re, ok := errors.AsType[*sr.ResponseError](err); ok && (re.StatusCode == http.StatusNotFound || re.StatusCode == http.StatusUnprocessableEntity) {
			return nil // this registry has no such check, or none for Protobuf
		}
		return fmt.Errorf("check subject %s with registry %s: %w", contract.Subject, c.RegistryURL, err)
	}
	if result.Is || r.Status == StatusBroken {
		return nil // with our own words there is nothing to add
	}
	what := "is refused by the registry"
	if len(result.Messages) > 0 {
		what += ": " + strings.Join(result.Messages, "; ")
	}
	r.Status = StatusBroken
	r.Changes = append(r.Changes, Change{
		Message: contract.Message, What: what, Breaking: true,
		Remedy: "undo the change, or make a new event type and publish both for a while",
	})
	return nil
}

// removedSubjects reports subjects of our topics that no contract has any more.
func removedSubjects(ctx context.Context, c Config, cl *sr.Client) ([]ContractReport, error) {
	subjects, err := cl.Subjects(ctx)
	if err != nil {
		return nil, fmt.Errorf("list subjects of %s: %w", c.RegistryURL, err)
	}
	slices.Sort(subjects)
	ours, topics := map[string]bool{}, map[string]bool{}
	for _, contract := range c.Contracts {
		ours[contract.Subject] = true
		topics[strings.TrimSuffix(contract.Subject, "-"+contract.Message)] = true
	}
	var gone []ContractReport
	for _, subject := range subjects {
		topic, message, ok := strings.Cut(subject, "-")
		if ok && topics[topic] && !ours[subject] {
			gone = append(gone, removedContract(subject, message))
		}
	}
	return gone, nil
}

func removedContract(subject, message string) ContractReport {
	return ContractReport{
		Subject: subject, Message: message, Status: StatusMissing,
		Changes: []Change{{
			Message: message, What: "is removed, but events of this type may still be read", Breaking: true,
			Remedy: "keep the message until nothing holds such events any more, then delete its subject",
		}},
	}
}

func unknownMessage(contract Contract) error {
	return fmt.Errorf("contract %s: no .proto file has this message", contract.Message)
}
