package connect

// infer returns the schema of a node; 0 when it has none.
func (x *Expander) infer(at int32, key string) (int32, error) {
	switch x.nodes[at].kind {
	case stringNode:
		return x.shape(shape{kind: String}), nil
	case boolNode:
		return x.shape(shape{kind: Boolean}), nil
	case intNode:
		return x.shape(shape{kind: Int32}), nil
	case longNode:
		return x.shape(shape{kind: Int64}), nil
	case bigNode, doubleNode:
		return x.shape(shape{kind: Float64}), nil
	case nullNode:
		if x.NullAsBytes {
			return x.shape(shape{kind: Bytes}), nil
		}
		return 0, nil
	case arrayNode:
		if x.nodes[at].child == 0 {
			if !x.EmptyAsString {
				return 0, nil
			}
			return x.shape(shape{kind: Array, elem: x.shape(shape{kind: String})}), nil
		}
		elem, err := x.inferElement(at, key)
		if err != nil {
			return 0, err
		}
		return x.shape(shape{kind: Array, elem: elem}), nil
	}
	s := x.shape(shape{kind: Struct, name: key})
	if !x.Named {
		x.shapes[s].name = ""
	}
	for c := x.nodes[at].child; c != 0; c = x.nodes[c].next {
		name := x.nodes[c].name
		if x.Adjust != nil {
			name = []byte(x.Adjust(string(name)))
		}
		path := ""
		if k := x.nodes[c].kind; k == objectNode || k == arrayNode {
			path = x.path(key, name)
		}
		of, err := x.infer(c, path)
		if err != nil {
			return 0, err
		}
		if of != 0 && len(name) == 0 { // a field of a Connect schema has a name
			return 0, errKept
		}
		// Names of one object are different, unless they have been made the same.
		if of != 0 && (x.Adjust == nil || x.field(s, name) == 0) {
			x.addField(s, name, of)
		}
	}
	return s, nil
}

// path names the struct of a field: only a schema shows it.
func (x *Expander) path(key string, name []byte) string {
	if !x.Named {
		return ""
	}
	if blank(key) {
		return string(name)
	}
	if !x.step(len(key) + len(name)) {
		return ""
	}
	return key + "." + string(name)
}

func blank(s string) bool {
	for _, r := range s {
		if r > ' ' {
			return false
		}
	}
	return true
}

func (x *Expander) field(s int32, name []byte) int32 {
	for f := x.shapes[s].first; f != 0 && x.step(1); f = x.shapes[f].next {
		if string(x.shapes[f].field) == string(name) {
			return f
		}
	}
	return 0
}

func (x *Expander) addField(s int32, name []byte, of int32) {
	f := x.shape(shape{field: name, of: of})
	if o := &x.shapes[s]; o.last == 0 {
		o.first = f
	} else {
		x.shapes[o.last].next = f
	}
	x.shapes[s].last = f
}

// inferElement is for an array that is not empty.
func (x *Expander) inferElement(at int32, key string) (int32, error) {
	sample, err := x.sample(at)
	if err != nil {
		return 0, err
	}
	if sample == 0 || x.nodes[sample].kind != objectNode {
		if sample == 0 {
			sample = x.nodes[at].child // null, as all of them are
		}
		elem, err := x.infer(sample, "")
		if err == nil && elem == 0 {
			err = errKept
		}
		return elem, err
	}
	var merged int32
	for c := x.nodes[at].child; c != 0; c = x.nodes[c].next {
		if x.nodes[c].kind != objectNode {
			continue
		}
		s, err := x.infer(c, key)
		if err != nil {
			return 0, err
		}
		if merged == 0 {
			merged = s
			continue
		}
		x.merge(merged, s)
	}
	return merged, nil
}

// merge adds to a struct the fields of another. A field that both have keeps the
// first's schema, unless that is of a null.
func (x *Expander) merge(into, from int32) {
	for f := x.shapes[from].first; f != 0; f = x.shapes[f].next {
		old := x.field(into, x.shapes[f].field)
		if old == 0 {
			x.addField(into, x.shapes[f].field, x.shapes[f].of)
		} else if x.shapes[x.shapes[old].of].kind == Bytes {
			x.shapes[old].of = x.shapes[f].of
		}
	}
}

// sample is the first element that is not null, if all are of one kind with it.
func (x *Expander) sample(at int32) (int32, error) {
	var sample int32
	for c := x.nodes[at].child; c != 0; c = x.nodes[c].next {
		if x.nodes[c].kind == nullNode {
			continue
		}
		if sample == 0 {
			sample = c
		}
		if x.nodes[sample].kind.inferred() != x.nodes[c].kind.inferred() {
			return 0, errKept
		}
	}
	return sample, nil
}

// inferred makes those kinds one that get the same schema.
func (k nodeKind) inferred() nodeKind {
	if k == bigNode {
		return doubleNode
	}
	return k
}
