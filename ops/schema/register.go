package schema

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Register brings every contract into the registry and the registry's answers
// into the database. It registers nothing unless the database can store the
// answers. It returns an [*IncompatibleError] before anything is
// registered when a contract breaks, and a [*ConflictError] before anything is
// stored when the registry contradicts what is stored.
func Register(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if c.RegistryURL == "" {
		return Report{}, errors.New("RegistryURL: must be set")
	}
	ours, err := compileFS(ctx, c.Protos)
	if err != nil {
		return Report{}, err
	}
	cl, closeIdle, err := c.client()
	if err != nil {
		return Report{}, err
	}
	defer closeIdle()
	report, err := diffRegistry(ctx, c, cl, ours)
	if err != nil {
		return report, err
	}
	if err := report.Err(); err != nil {
		return report, err
	}

	if err := store(ctx, c, nil); err != nil {
		return report, err
	}
	r := registrar{config: c, client: cl, source: ours, files: map[string]registered{}}
	for i, contract := range c.Contracts {
		m := ours.message(contract.Message)
		done, err := r.put(ctx, contract.Subject, m.ParentFile())
		if err != nil {
			return report, err
		}
		report.Contracts[i].ID, report.Contracts[i].Version = done.id, done.version
		done.message, done.index = contract.Message, messageIndex(m)
		r.done = append(r.done, done)
	}
	if err := store(ctx, c, r.done); err != nil {
		return report, err
	}
	return report, nil
}

// registered is one version as the registry has it.
type registered struct {
	subject string
	version int
	id      int
	message string
	index   []int32
	file    protoreflect.FileDescriptor
	text    string
	schema  sr.Schema
}

type registrar struct {
	config Config
	client *sr.Client
	source source
	files  map[string]registered // imported files, by path
	done   []registered
}

// put registers file under subject, after the files that it imports.
func (r *registrar) put(ctx context.Context, subject string, file protoreflect.FileDescriptor) (registered, error) {
	s := sr.Schema{Schema: r.source.texts[file.Path()], Type: sr.TypeProtobuf}
	for _, path := range imports(file) {
		ref, known := r.files[path]
		if !known {
			var err error
			// An imported file is a subject of its own, named by its path.
			if ref, err = r.put(ctx, path, r.source.files[path]); err != nil {
				return registered{}, err
			}
			r.files[path] = ref
			r.done = append(r.done, ref)
		}
		s.References = append(s.References, sr.SchemaReference{Name: path, Subject: ref.subject, Version: ref.version})
	}

	levelled := r.setLevel(ctx, subject)
	found, err := r.client.LookupSchema(ctx, subject, s)
	if notFound(err) {
		if _, err := r.client.RegisterSchema(ctx, subject, s, -1, -1); err != nil {
			return registered{}, r.refused(subject, err)
		}
		found, err = r.client.LookupSchema(ctx, subject, s)
		if err == nil {
			r.config.Logger.Info("schema registered", "subject", subject, "version", found.Version, "id", found.ID)
		}
	}
	if err != nil {
		return registered{}, fmt.Errorf("register subject %s: %w", subject, err)
	}
	if levelled != nil { // some registries know a subject only once it has a version
		if err := r.setLevel(ctx, subject); err != nil {
			return registered{}, fmt.Errorf("set compatibility of subject %s: %w", subject, err)
		}
	}
	return registered{subject: subject, version: found.Version, id: found.ID, file: file, text: s.Schema, schema: s}, nil
}

func (r *registrar) setLevel(ctx context.Context, subject string) error {
	return r.client.SetCompatibility(ctx, sr.SetCompatibility{Level: r.config.level()}, subject)[0].Err
}

// refused gives a registry's incompatibility the type of our own.
func (r *registrar) refused(subject string, err error) error {
	if re, ok := errors.AsType[*sr.ResponseError](err); ok && re.StatusCode == http.StatusConflict {
		return &IncompatibleError{Against: r.config.RegistryURL, Breaks: []Change{{
			Message: subject, What: "is refused by the registry: " + re.Message, Breaking: true,
			Remedy: newEvent[len("or "):],
		}}}
	}
	return fmt.Errorf("register subject %s: %w", subject, err)
}

// imports are the paths that file imports, without Google's own, which every
// registry and every compiler knows.
func imports(file protoreflect.FileDescriptor) []string {
	var paths []string
	for i := range file.Imports().Len() {
		if path := file.Imports().Get(i).Path(); !strings.HasPrefix(path, "google/protobuf/") {
			paths = append(paths, path)
		}
	}
	return paths
}

// knownSchema is file as the registry takes it, with references to the versions
// that it has; known is false when it lacks one of them.
func knownSchema(ctx context.Context, cl *sr.Client, ours source, file protoreflect.FileDescriptor) (s sr.Schema, known bool, err error) {
	s = sr.Schema{Schema: ours.texts[file.Path()], Type: sr.TypeProtobuf}
	for _, path := range imports(file) {
		imported, known, err := knownSchema(ctx, cl, ours, ours.files[path])
		if err != nil || !known {
			return s, false, err
		}
		there, err := cl.LookupSchema(ctx, path, imported)
		if notFound(err) {
			return s, false, nil
		}
		if err != nil {
			return s, false, fmt.Errorf("look up subject %s: %w", path, err)
		}
		s.References = append(s.References, sr.SchemaReference{Name: path, Subject: path, Version: there.Version})
	}
	return s, true, nil
}

// messageIndex is the path of a message within its file, as the wire format
// has it.
func messageIndex(m protoreflect.MessageDescriptor) []int32 {
	index := []int32{int32(m.Index())}
	if parent, ok := m.Parent().(protoreflect.MessageDescriptor); ok {
		return append(messageIndex(parent), index...)
	}
	return index
}
