package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxReferences bounds what a registry may make us fetch for one subject.
const maxReferences = 1000

// source is a compiled set of .proto files and their texts.
type source struct {
	texts map[string]string // by import path; empty for descriptor sets
	files map[string]protoreflect.FileDescriptor
}

// message returns the descriptor of a full name, nil when there is none.
func (s source) message(name string) protoreflect.MessageDescriptor {
	for _, file := range s.files {
		if m := findMessage(file.Messages(), protoreflect.FullName(name)); m != nil {
			return m
		}
	}
	return nil
}

func findMessage(list protoreflect.MessageDescriptors, name protoreflect.FullName) protoreflect.MessageDescriptor {
	for i := range list.Len() {
		if list.Get(i).FullName() == name {
			return list.Get(i)
		}
		if m := findMessage(list.Get(i).Messages(), name); m != nil {
			return m
		}
	}
	return nil
}

// messages returns the full names of all top-level messages, sorted.
func (s source) messages() []string {
	var names []string
	for _, file := range s.files {
		for i := range file.Messages().Len() {
			names = append(names, string(file.Messages().Get(i).FullName()))
		}
	}
	slices.Sort(names)
	return names
}

// compile parses texts; Google's own imports need not be among them.
func compile(ctx context.Context, texts map[string]string) (source, error) {
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(texts)}),
	}
	names := slices.Sorted(maps.Keys(texts))
	linked, err := c.Compile(ctx, names...)
	if err != nil {
		return source{}, err
	}
	s := source{texts: texts, files: map[string]protoreflect.FileDescriptor{}}
	for _, file := range linked {
		s.files[file.Path()] = file
	}
	return s, nil
}

// compileFS compiles every .proto file below the root of files.
func compileFS(ctx context.Context, files fs.FS) (source, error) {
	texts := map[string]string{}
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".proto") {
			return err
		}
		text, err := fs.ReadFile(files, path)
		texts[path] = string(text)
		return err
	})
	if err != nil {
		return source{}, fmt.Errorf("read contracts: %w", err)
	}
	s, err := compile(ctx, texts)
	if err != nil {
		return source{}, fmt.Errorf("compile contracts: %w", err)
	}
	return s, nil
}

// openDir reads earlier contracts: a tree of .proto files or a descriptor set.
func openDir(ctx context.Context, dir string) (source, error) {
	sets, err := filepath.Glob(filepath.Join(dir, "*.binpb"))
	if err != nil {
		return source{}, fmt.Errorf("read %s: %w", dir, err)
	}
	if len(sets) > 1 {
		return source{}, fmt.Errorf("read %s: %d descriptor sets, want one", dir, len(sets))
	}
	if len(sets) == 0 {
		s, err := compileFS(ctx, os.DirFS(dir))
		if err == nil && len(s.files) == 0 {
			err = errors.New("no .proto and no .binpb file")
		}
		if err != nil {
			return source{}, fmt.Errorf("read %s: %w", dir, err)
		}
		return s, nil
	}
	raw, err := os.ReadFile(sets[0])
	if err != nil {
		return source{}, fmt.Errorf("read descriptor set: %w", err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return source{}, fmt.Errorf("read descriptor set %s: %w", sets[0], err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return source{}, fmt.Errorf("link descriptor set %s: %w", sets[0], err)
	}
	return fromFiles(files), nil
}

func fromFiles(files *protoregistry.Files) source {
	s := source{files: map[string]protoreflect.FileDescriptor{}}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if file.Package() != "google.protobuf" {
			s.files[file.Path()] = file
		}
		return true
	})
	return s
}

// fetch compiles what the registry holds as the newest version of a subject.
// found is false when it holds none.
func fetch(ctx context.Context, cl *sr.Client, subject, path string) (s source, version int, found bool, err error) {
	newest, err := cl.SchemaByVersion(ctx, subject, -1)
	if notFound(err) {
		return source{}, 0, false, nil
	}
	if err != nil {
		return source{}, 0, false, fmt.Errorf("read subject %s: %w", subject, err)
	}
	if newest.Type != sr.TypeProtobuf {
		return source{}, 0, false, fmt.Errorf("subject %s holds a schema of type %s, not PROTOBUF", subject, newest.Type)
	}
	texts := map[string]string{path: newest.Schema.Schema}
	pending := slices.Clone(newest.References)
	for len(pending) > 0 {
		ref := pending[0]
		pending = pending[1:]
		if _, known := texts[ref.Name]; known {
			continue
		}
		if len(texts) > maxReferences {
			return source{}, 0, false, fmt.Errorf("subject %s has more than %d references", subject, maxReferences)
		}
		imported, err := cl.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return source{}, 0, false, fmt.Errorf("read reference %s of subject %s: %w", ref.Name, subject, err)
		}
		texts[ref.Name] = imported.Schema.Schema
		pending = append(pending, imported.References...)
	}
	s, err = compile(ctx, texts)
	if err != nil {
		return source{}, 0, false, fmt.Errorf("compile subject %s: %w", subject, err)
	}
	return s, newest.Version, true, nil
}

func notFound(err error) bool {
	re, ok := errors.AsType[*sr.ResponseError](err)
	return ok && re.StatusCode == http.StatusNotFound
}
