package connect

// Object reads text, a JSON object, into a structure whose schema is inferred from it,
// like Expand. The value's texts are views of text and of x, until the next text.
// The error is ErrTooLarge, or ErrMismatch when it is no object, or no schema can be
// inferred.
func (x *Expander) Object(text []byte) (s *Schema, v Value, err error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, Value{}, ErrMismatch
	}
	switch x.Expand(text, "") {
	case Expanded:
	case TooLarge:
		return nil, Value{}, ErrTooLarge
	default:
		return nil, Value{}, ErrMismatch
	}
	s = x.schemaOf(x.root)
	v, err = x.valueOf(1, x.root, s)
	if x.steps < 0 {
		err = ErrTooLarge
	}
	return s, v, err
}

// schemaOf is a shape as a schema. Everything inferred is optional.
func (x *Expander) schemaOf(of int32) *Schema {
	from := &x.shapes[of]
	s := &Schema{Type: from.kind, Optional: true, Name: from.name}
	switch from.kind {
	case Array:
		s.Elem = x.schemaOf(from.elem)
	case Struct:
		for f := from.first; f != 0; f = x.shapes[f].next {
			s.Fields = append(s.Fields, Field{Name: string(x.shapes[f].field), Schema: x.schemaOf(x.shapes[f].of)})
		}
	}
	return s
}

func (x *Expander) valueOf(at, of int32, s *Schema) (v Value, err error) {
	n := &x.nodes[at]
	if !fits(n.kind, s.Type) {
		return v, ErrMismatch
	}
	switch n.kind {
	case boolNode:
		return Value{Kind: BoolKind, Int: n.num}, nil
	case intNode, longNode:
		return Integer(n.num), nil
	case doubleNode:
		return Value{Kind: DoubleKind, Float: n.float}, nil
	case stringNode:
		return Text(n.text), nil
	case arrayNode:
		v = Value{Kind: ListKind, List: []Value{}}
		for c := n.child; c != 0; c = x.nodes[c].next {
			e, err := x.valueOf(c, x.shapes[of].elem, s.Elem)
			if err != nil {
				return v, err
			}
			v.List = append(v.List, e)
		}
	case objectNode:
		if !x.step(fieldSteps * len(s.Fields)) {
			return v, ErrTooLarge
		}
		v = Value{Kind: StructKind, Schema: s, List: make([]Value, len(s.Fields))}
		i, next := 0, n.child
		for f := x.shapes[of].first; f != 0; f = x.shapes[f].next {
			var c int32
			if c, next = x.seek(n, next, x.shapes[f].field); c != 0 {
				if v.List[i], err = x.valueOf(c, x.shapes[f].of, s.Fields[i].Schema); err != nil {
					return v, err
				}
			}
			i++
		}
	}
	return v, nil
}
